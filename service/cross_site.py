"""What browsers are made to send: under a name that isn't ours (DNS rebinding), or by another site's page.

On loopback, or wherever else no API key is asked for, any page a person opens could otherwise ask as that
person's machine. Programs that are no browsers send what they like; keys are what stops those.
"""

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import CrossSiteRequest, WrongHost, problem_response
from service.prefix import Proxies

READING = frozenset({"GET", "HEAD", "OPTIONS"})  # change nothing; answers are closed to other origins anyway
OUR_OWN = {"same-origin", "none"}  # Sec-Fetch-Site of what a person does on our page or in the address bar
LOCAL = "localhost"
TOLD = (
    "X-Requested-With"  # no other site's page can send it: browsers would ask us first, and we would refuse
)
DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class Origins:
    """ASGI middleware. `names`: those it answers to, beside what can't be rebound; none: to every name.
    `allowed`: the origins of other sites whose pages may ask; `proxies`: whose X-Forwarded-Host is believed.
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
        told = headers.get("x-forwarded-host") if self.proxies.trust(scope) else None
        return is_foreign(headers, told or headers.get("host", ""))

    def _goes_by(self, host: str) -> bool:
        name = name_of(host)
        return cannot_be_rebound(name) or name in self.names


def name_of(host: str) -> str:
    """The name in a Host header, without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return "."  # nobody's


def cannot_be_rebound(name: str) -> bool:
    """Addresses, `localhost`, and names without a dot: no stranger's name server answers for them."""
    if name == LOCAL or name.endswith(f".{LOCAL}") or "." not in name:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_foreign(headers: Headers, host: str) -> bool:
    """Whether another site's page made a browser send this to `host`.

    Browsers say so, except old ones and where the page came by plain HTTP. Then a header that only our own
    page's scripts can set tells, whatever a proxy made of `Host`; else Origin is compared.
    """
    if site := headers.get("sec-fetch-site"):
        return site not in OUR_OWN
    origin = headers.get("origin")
    return origin is not None and TOLD.lower() not in headers and not _is_of(origin, host)


def _is_of(origin: str, host: str) -> bool:
    """Whether the origin's host and port are these; a port that is the scheme's own may be left out."""
    scheme, _, place = origin.lower().partition("://")
    port = DEFAULT_PORTS.get(scheme, "")
    return bool(port) and place.removesuffix(port) == host.lower().removesuffix(port)
