"""HEAD wherever GET is: the same answer without its body."""

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadRequests:
    """ASGI middleware. An event stream ends with its headers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                rest.cancel()
            else:
                await send(message)

        asked = {**scope, "method": "GET"}
        with anyio.CancelScope() as rest:
            await self.app(asked, receive, without_body)
        scope["route"] = asked.get("route")  # metrics count by route
