"""Request ids: from the caller or generated; in the response and in each log line of the request."""

import re
import secrets
import time
from typing import Annotated, cast
from urllib.parse import quote

import structlog
from fastapi import Depends, Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "X-Request-ID"
TAKEN = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}")  # accepted from callers: can't break a log line or a header

log = structlog.get_logger(__name__)


class RequestIds:
    """ASGI middleware. Successful reads are logged at level debug only, as clients poll."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id, status, start = _request_id(scope), 500, time.perf_counter()
        scope["state"]["request_id"] = request_id

        async def telling(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request=request_id):
            try:
                await self.app(scope, receive, telling)
            finally:
                _note(scope, status, time.perf_counter() - start)


def _request_id(scope: Scope) -> str:
    request_id = Headers(scope=scope).get(HEADER, "")
    return request_id if TAKEN.fullmatch(request_id) else secrets.token_hex(12)


def _note(scope: Scope, status: int, seconds: float) -> None:
    write = log.debug if scope["method"] in {"GET", "HEAD"} and status < 400 else log.info
    write(
        "answered",
        method=scope["method"],
        path=quote(scope["path"]),
        status=status,
        ms=round(1000 * seconds, 1),
    )


async def _id_of(request: Request) -> str:
    return cast(str, request.state.request_id)


RequestId = Annotated[str, Depends(_id_of)]
