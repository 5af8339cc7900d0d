"""A path prefix in front of all our paths, where a proxy serves us below one: `root_path` in ASGI's words."""

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

PREFIX = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
HEADER = "x-forwarded-prefix"
# Below one of these it couldn't be told whether a path still has its prefix.
OUR_OWN = ("jobs", "batches", "models", "keys", "health", "metrics", "docs", "static")


class Proxies:
    """By their addresses or networks. Who calls is decided by API keys, never by this."""

    def __init__(self, networks: Iterable[str]) -> None:
        self.networks: list[IPv4Network | IPv6Network] = [ip_network(one) for one in networks]

    def trust(self, scope: Scope) -> bool:
        """Whether the request comes from one of them."""
        client = scope.get("client")
        try:
            address = ip_address(client[0]) if client else None
        except ValueError:
            return False
        return address is not None and any(address in network for network in self.networks)


class Prefix:
    """ASGI middleware. A proxy that tells the prefix has cut it off; with the setting it may be there."""

    def __init__(self, app: ASGIApp, root_path: str, proxies: Proxies) -> None:
        self.app, self.root_path, self.proxies = app, root_path, proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path, told = scope["path"], self._told(scope)
            if told:
                scope = {**scope, "root_path": told, "path": told + path}
            elif self.root_path and path == self.root_path and scope["method"] in {"GET", "HEAD"}:
                page = RedirectResponse(f"{path}/")  # links on the page are relative to its folder
                await page(scope, receive, send)
                return
            elif self.root_path:
                whole = path if path.startswith(f"{self.root_path}/") else self.root_path + path
                scope = {**scope, "root_path": self.root_path, "path": whole}
        await self.app(scope, receive, send)

    def _told(self, scope: Scope) -> str:
        told = Headers(scope=scope).get(HEADER, "").rstrip("/")
        return told if PREFIX.fullmatch(told) and self.proxies.trust(scope) else ""


def path_of(scope: Scope) -> str:
    """The path without the prefix: what our routes are called."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))
