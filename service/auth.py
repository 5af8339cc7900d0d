"""Authentication by API key, and rate limits per caller. Both run before the body is read."""

import base64
import binascii
from dataclasses import dataclass
from typing import Annotated, cast

from anyio.to_thread import run_sync
from fastapi import Depends, Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.cross_site import OUR_OWN
from service.errors import TooMany, Unauthorized, as_service_error, problem_response
from service.prefix import path_of
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
