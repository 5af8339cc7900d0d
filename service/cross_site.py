"""Refuses requests that another site makes a browser send: by DNS rebinding (a foreign Host) or by CSRF.

Without API keys, as on loopback, any page that a person opens could otherwise use the service from that
person's machine. The checks bind browsers only: other programs can forge headers, and need API keys.
"""

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import CrossSiteRequest, WrongHost, problem_response
from service.prefix import Proxies

READING = frozenset({"GET", "HEAD", "OPTIONS"})  # safe methods; CORS hides responses from other origins
OUR_OWN = {"same-origin", "none"}  # Sec-Fetch-Site of requests from our own page and the address bar
LOCAL = "localhost"
# Other sites' pages can't send this header: it needs a CORS preflight, which is refused.
REQUESTED_WITH = "X-Requested-With"
DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class Origins:
    """ASGI middleware. `names`: accepted in Host, besides those that can't be rebound; if empty, all are.
    `allowed`: other origins whose pages may call. `proxies`: whose X-Forwarded-Host is trusted.
    """

    def __init__(
        self, app: ASGIApp, names: tuple[str, ...], allowed: tuple[str, ...], proxies: Proxies
    ) -> None:
        self.app, self.allowed, self.proxies = app, frozenset(allowed), proxies
        self.names = frozenset(name.lower() for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            if self.names and not self._goes_by(headers.get("host", "")):
                await problem_response(WrongHost(), scope["path"])(scope, receive, send)
                return
            if scope["method"] not in READING and self._is_foreign(scope, headers):
                await problem_response(CrossSiteRequest(), scope["path"])(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _is_foreign(self, scope: Scope, headers: Headers) -> bool:
        if headers.get("origin", "").lower() in self.allowed:
            return False
        forwarded = headers.get("x-forwarded-host") if self.proxies.trust(scope) else None
        return is_foreign(headers, forwarded or headers.get("host", ""))

    def _goes_by(self, host: str) -> bool:
        name = name_of(host)
        return cannot_be_rebound(name) or name in self.names


def name_of(host: str) -> str:
    """The name in a Host header, without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return "."  # matches no name


def cannot_be_rebound(name: str) -> bool:
    """IP addresses, `localhost` and names without a dot: no attacker's DNS server can resolve them."""
    if name == LOCAL or name.endswith(f".{LOCAL}") or "." not in name:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_foreign(headers: Headers, host: str) -> bool:
    """Whether another site's page made a browser send this to `host`.

    Sec-Fetch-Site decides. Old browsers don't send it, nor do others for plain HTTP. Then X-Requested-With
    proves our own page, even if a proxy rewrites `Host`; without it, Origin, if sent, must match `host`.
    """
    if site := headers.get("sec-fetch-site"):
        return site not in OUR_OWN
    origin = headers.get("origin")
    return origin is not None and REQUESTED_WITH.lower() not in headers and not _is_of(origin, host)


def _is_of(origin: str, host: str) -> bool:
    """Whether the origin has this host and port; the scheme's default port may be left out."""
    scheme, _, address = origin.lower().partition("://")
    port = DEFAULT_PORTS.get(scheme, "")
    return bool(port) and address.removesuffix(port) == host.lower().removesuffix(port)
