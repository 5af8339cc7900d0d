"""A minimal HTTP/1.1 client, because a client library would take time of the cores that are measured."""

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any

BOUNDARY = "a-boundary-that-no-image-holds"


@dataclass(frozen=True)
class Answer:
    """seconds: from the first byte sent to the last one received."""

    status: int
    body: bytes
    seconds: float

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """One request after the other. Use it as a context manager."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port

    async def __aenter__(self) -> "Connection":
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def ask(self, request: bytes) -> Answer:
        """Sends the bytes of one request. Raises OSError, asyncio.IncompleteReadError."""
        start = time.perf_counter()
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
        body = await self._reader.readexactly(int(fields[b"content-length"]))
        return Answer(int(head[9:12]), body, time.perf_counter() - start)


def get(path: str) -> bytes:
    """The bytes of a GET."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def post(path: str, fields: dict[str, str], images: list[bytes]) -> bytes:
    """The bytes of a multipart POST."""
    parts = [(f'name="{name}"', value.encode()) for name, value in fields.items()]
    parts += [('name="image"; filename="image.png"', image) for image in images]
    body = b"".join(
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; {what}\r\n\r\n".encode() + said + b"\r\n"
        for what, said in parts
    )
    body += f"--{BOUNDARY}--\r\n".encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    head += f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    return head.encode() + body
