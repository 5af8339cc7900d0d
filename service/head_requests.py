"""HEAD for every GET route: the same response without its body."""

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadRequests:
    """ASGI middleware. HEAD of an event stream ends after the headers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                body_scope.cancel()
            else:
                await send(message)

        get_scope = {**scope, "method": "GET"}
        with anyio.CancelScope() as body_scope:
            await self.app(get_scope, receive, without_body)
        scope["route"] = get_scope.get("route")  # the metrics' label
