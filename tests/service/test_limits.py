"""How much of a body is read before it is refused."""

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from service.errors import TooLarge
from service.limits import BodyLimit

MB = 1_000_000
LIMIT = 10 * MB


class Upload:
    """A body without end, a megabyte at a time. read: bytes that were asked for; answers: what came back."""

    def __init__(self, *headers: tuple[bytes, bytes]) -> None:
        self.scope = {"type": "http", "path": "/certify", "headers": list(headers)}
        self.read = 0
        self.answers: list[Message] = []

    async def receive(self) -> Message:
        self.read += MB
        return {"type": "http.request", "body": bytes(MB), "more_body": True}

    async def send(self, message: Message) -> None:
        self.answers.append(message)

    def to(self, limit: BodyLimit) -> None:
        asyncio.run(limit(self.scope, self.receive, self.send))


async def reads_all(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive())["more_body"]:
        pass


def test_a_length_over_the_limit_is_believed_and_nothing_read() -> None:
    upload = Upload((b"content-length", str(LIMIT + 1).encode()))
    upload.to(BodyLimit(reads_all, lambda _: LIMIT))
    assert (upload.answers[0]["status"], upload.read) == (413, 0)


@pytest.mark.parametrize("headers", [(), ((b"content-length", b"5"),), ((b"content-length", b"-1"),)])
def test_without_a_true_length_reading_ends_as_soon_as_it_is_too_much(
    headers: tuple[tuple[bytes, bytes], ...],
) -> None:
    upload = Upload(*headers)
    with pytest.raises(TooLarge):
        upload.to(BodyLimit(reads_all, lambda _: LIMIT))
    assert upload.read == LIMIT + MB


def test_each_path_has_its_own_limit() -> None:
    upload = Upload()
    with pytest.raises(TooLarge):
        upload.to(BodyLimit(reads_all, {"/certify": 2 * MB}.__getitem__))
    assert upload.read == 3 * MB
