"""A path prefix in front of all our paths, where a proxy serves us below one: `root_path` in ASGI's words."""

import re

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from service.proxies import Proxies

PREFIX = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
HEADER = "x-forwarded-prefix"


class Prefix:
    """ASGI middleware. What a proxy says comes before the setting. It may cut the prefix off or not."""

    def __init__(self, app: ASGIApp, root_path: str, proxies: Proxies) -> None:
        self.app, self.root_path, self.proxies = app, root_path, proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (prefix := self._prefix_of(scope)):
            path = scope["path"]
            if path == prefix:  # links on the page are relative to its folder
                await RedirectResponse(f"{prefix}/")(scope, receive, send)
                return
            whole = path if path.startswith(f"{prefix}/") else prefix + path
            scope = {**scope, "root_path": prefix, "path": whole}
        await self.app(scope, receive, send)

    def _prefix_of(self, scope: Scope) -> str:
        told = Headers(scope=scope).get(HEADER, "").rstrip("/")
        if told and PREFIX.fullmatch(told) and self.proxies.trust(scope):
            return told
        return self.root_path


def path_of(scope: Scope) -> str:
    """The path without the prefix: what our routes are called."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))
