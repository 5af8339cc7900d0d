"""A path prefix in front of all paths and links, for a proxy that serves it below one (ASGI: `root_path`)."""

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, cast

from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

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
