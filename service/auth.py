"""Who may call: API keys, rate limits per caller, and no page of another site. All before the body is read.

Another site can make a browser send requests, by DNS rebinding (a foreign Host) or by CSRF. Without API keys,
as on loopback, any page that a person opens could otherwise use the service from that person's machine. These
checks bind browsers only: other programs can forge headers, and need API keys.
"""

import base64
import binascii
import ipaddress
from dataclasses import dataclass
from typing import Annotated, cast
from urllib.parse import urlsplit

from anyio.to_thread import run_sync
from fastapi import Depends, Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import (
    CrossSiteRequest,
    TooMany,
    Unauthorized,
    WrongHost,
    as_service_error,
    problem_response,
)
from service.middleware import Proxies, path_of
from service.state import Service
from smoothcert.errors import SmoothCertError
from smoothcert.jobs.store import ANONYMOUS, WINDOW, Allowance

GUARDED = ("/certify", "/jobs", "/batches", "/verify")
SUBMITTING = ("/certify", "/batches")
POLICY = '"submissions"'


@dataclass(frozen=True)
class Caller:
    """The caller of a request. name: owner of the jobs. open_jobs: how many may be unfinished at once.
    per_minute: how many submissions are allowed.

    0 means no limit. Without API keys, all requests have the same caller.
    """

    name: str = ANONYMOUS
    open_jobs: int = 0
    per_minute: int = 0


class Authentication:
    """ASGI middleware: finds the caller, and applies the rate limit to submissions."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _is_guarded(path_of(scope)):
            await self.app(scope, receive, send)
            return
        service = cast(Service, scope["state"]["service"])
        try:
            caller = authenticate(service, Headers(scope=scope))
            limits = await _limit(service, caller, scope)
        except (SmoothCertError, HTTPException) as error:
            await problem_response(as_service_error(error), scope["path"])(scope, receive, send)
            return
        scope["state"]["caller"] = caller
        await self.app(scope, receive, _with_headers(send, limits))


def authenticate(service: Service, headers: Headers) -> Caller:
    """The caller of a request. Raises Unauthorized, BadKeyFile."""
    if service.keys is None:
        return Caller()
    key = service.keys.find(presented_key(headers))
    if key is None:
        raise Unauthorized
    settings = service.settings
    return Caller(key.owner, key.open_jobs or settings.max_open, key.per_minute or settings.max_rate)


def presented_key(headers: Headers) -> str:
    """The key in a request's headers: a bearer token, or the password of HTTP Basic (the browser's dialog).

    Browsers add Basic credentials to cross-site requests too. There they are ignored (CSRF).
    """
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    if scheme.lower() == "basic" and headers.get("sec-fetch-site", "none") in OUR_OWN:
        return _password(credentials)
    return ""


def _password(credentials: str) -> str:
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


async def _limit(service: Service, caller: Caller, scope: Scope) -> dict[str, str]:
    """Takes a submission from the quota; returns response headers. Raises TooMany, BrokerUnavailable."""
    if not caller.per_minute or scope["method"] != "POST" or path_of(scope) not in SUBMITTING:
        return {}
    allowance = await run_sync(service.rate_limit.spend, caller.name, caller.per_minute)
    limits = _fields(caller, allowance)
    if allowance.taken:
        return limits
    detail = f"You may submit {caller.per_minute} times a minute."
    raise TooMany(detail, headers=limits | {"Retry-After": str(allowance.retry_in)})


def _fields(caller: Caller, allowance: Allowance) -> dict[str, str]:
    """The response headers of draft-ietf-httpapi-ratelimit-headers-10."""
    return {
        "RateLimit-Policy": f"{POLICY};q={caller.per_minute};w={WINDOW}",
        "RateLimit": f"{POLICY};r={allowance.remaining};t={allowance.full_in}",
    }


def _is_guarded(path: str) -> bool:
    return any(path == route or path.startswith(f"{route}/") for route in GUARDED)


def _with_headers(send: Send, fields: dict[str, str]) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(fields)
        await send(message)

    return send_with_headers if fields else send


async def _caller(request: Request) -> Caller:
    return cast(Caller, request.state.caller)


CallerOf = Annotated[Caller, Depends(_caller)]


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
