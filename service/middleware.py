"""ASGI middlewares: a proxy's path prefix, request ids with the access log, security headers, limits on
bodies, HEAD requests.

Others are in auth and monitoring.
"""

import re
import secrets
import time
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, cast
from urllib.parse import quote

import anyio
import structlog
from fastapi import Depends, Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import TooLarge, problem_response
from smoothcert.schemas.job import Batch, BatchLinks, Job, Links

PREFIX = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
FORWARDED_PREFIX = "x-forwarded-prefix"
# Not allowed as a prefix: it would be ambiguous whether a path still has its prefix.
OUR_OWN = ("jobs", "batches", "models", "keys", "health", "metrics", "version", "docs", "static")


class Proxies:
    """Trusted proxies, by address or network. Their headers never identify a caller: API keys do."""

    def __init__(self, networks: Iterable[str]) -> None:
        self.networks: list[IPv4Network | IPv6Network] = [ip_network(network) for network in networks]

    def trust(self, scope: Scope) -> bool:
        """Whether the request comes from one of these proxies."""
        client = scope.get("client")
        try:
            address = ip_address(client[0]) if client else None
        except ValueError:
            return False
        return address is not None and any(address in network for network in self.networks)


class Prefix:
    """ASGI middleware. A proxy that sends X-Forwarded-Prefix has removed the prefix from the path. With the
    setting `root_path`, the path may still have it.
    """

    def __init__(self, app: ASGIApp, root_path: str, proxies: Proxies) -> None:
        self.app, self.root_path, self.proxies = app, root_path, proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path, prefix = scope["path"], self._forwarded(scope)
            if prefix:
                scope = {**scope, "root_path": prefix, "path": prefix + path}
            elif self.root_path and path == self.root_path and scope["method"] in {"GET", "HEAD"}:
                redirect = RedirectResponse(f"{path}/")  # the page's relative links need the slash
                await redirect(scope, receive, send)
                return
            elif self.root_path:
                full = path if path.startswith(f"{self.root_path}/") else self.root_path + path
                scope = {**scope, "root_path": self.root_path, "path": full}
        await self.app(scope, receive, send)

    def _forwarded(self, scope: Scope) -> str:
        prefix = Headers(scope=scope).get(FORWARDED_PREFIX, "").rstrip("/")
        return prefix if PREFIX.fullmatch(prefix) and self.proxies.trust(scope) else ""


def path_of(scope: Scope) -> str:
    """The path without the prefix, as the routes have it."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


async def _prefix(request: Request) -> str:
    return cast(str, request.scope.get("root_path", ""))


PrefixOf = Annotated[str, Depends(_prefix)]


def linked(job: Job, prefix: str) -> Job:
    """The job, with the prefix in its links."""
    return job.model_copy(update={"links": Links.of(job.id, prefix)}) if prefix else job


def batch_linked(batch: Batch, prefix: str) -> Batch:
    """The batch, with the prefix in its links and those of its jobs."""
    if not prefix:
        return batch
    jobs = [linked(job, prefix) for job in batch.jobs]
    return batch.model_copy(update={"jobs": jobs, "links": BatchLinks.of(batch.id, prefix)})


REQUEST_ID = "X-Request-ID"
ACCEPTED_ID = re.compile(
    r"[A-Za-z0-9._:+/=-]{1,128}"
)  # accepted from callers: can't break a log line or a header

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

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request=request_id):
            try:
                await self.app(scope, receive, send_with_id)
            finally:
                _log_request(scope, status, time.perf_counter() - start)


def _request_id(scope: Scope) -> str:
    request_id = Headers(scope=scope).get(REQUEST_ID, "")
    return request_id if ACCEPTED_ID.fullmatch(request_id) else secrets.token_hex(12)


def _log_request(scope: Scope, status: int, seconds: float) -> None:
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


SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
DOCS = "/docs"  # FastAPI's page has inline scripts and styles
DOCS_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)


class SecurityHeaders:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(SECURITY_HEADERS)
                headers["Content-Security-Policy"] = (
                    DOCS_POLICY if path_of(scope).startswith(DOCS) else PAGE_POLICY
                )
            await send(message)

        await self.app(scope, receive, send_with_headers)


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
