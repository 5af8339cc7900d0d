"""Refuses bodies that are too large: by Content-Length before reading, else by counting bytes."""

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import TooLarge, problem_response
from service.prefix import path_of

FORM_OVERHEAD = 64 * 1024  # bytes; for a form's other fields and its boundaries


class BodyLimit:
    """ASGI middleware. `limit_of(path)`: the largest body of a path, in bytes.

    Starlette has a limit of its own, but it responds to a large Content-Length in plain text.
    """

    def __init__(self, app: ASGIApp, limit_of: Callable[[str], int]) -> None:
        self.app = app
        self.limit_of = limit_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.limit_of(path_of(scope))
        if _declared(scope) > limit:
            await problem_response(_too_large(limit), scope["path"])(scope, receive, send)
            return
        await self.app(scope, _counted(receive, limit), send)


def _declared(scope: Scope) -> int:
    length = Headers(scope=scope).get("content-length", "")
    return int(length) if length.isdecimal() else 0


def _counted(receive: Receive, limit: int) -> Receive:
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise _too_large(limit)
        return message

    return counted


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The request is too large: at most {limit - FORM_OVERHEAD} bytes are taken here.")
