"""Objects that live as long as the application, and the dependency that passes them to a route."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Annotated, TypedDict, cast

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from service.errors import Unavailable
from service.settings import Settings
from smoothcert.jobs.store import JobStore, RateLimit
from smoothcert.jobs.tasks import TaskPublisher
from smoothcert.models.registry import ModelRegistry
from smoothcert.schemas.api_keys import ApiKey, Keyring


class KeyFile:
    """A file of API keys. A revoked key stops working at the next request. Not thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._ring = Keyring()

    def find(self, presented_key: str) -> ApiKey | None:
        """The API key that the caller sent, or None. Raises BadKeyFile: a damaged file admits no caller."""
        version = self._look()
        if version != self._seen:
            self._ring = Keyring.read(self._path)
            self._seen = version
        return self._ring.find(presented_key)

    def _look(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            self._ring = Keyring()
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size


class ConcurrencyLimit:
    """At most `most` waits and event streams in this process. For the event loop only, so it has no lock."""

    def __init__(self, most: int) -> None:
        self.most = self.free = most

    @property
    def taken(self) -> int:
        return self.most - self.free

    @contextmanager
    def take(self) -> Iterator[None]:
        """Holds one slot while the context lasts. Raises Unavailable."""
        if not self.free:
            raise Unavailable("Too many follow their jobs at the moment: poll, or try again shortly.")
        self.free -= 1
        try:
            yield
        finally:
            self.free += 1


@dataclass(frozen=True)
class Service:
    """What all routes share.

    decoders: the only threads that decode uploads. Their number bounds the memory for decoding, including
    what malloc keeps per thread. sender: the one thread that sends messages to workers, so that requests
    don't wait for it. keys: None without API keys. closing: set when the server stops, to end all waits.
    """

    settings: Settings
    models: ModelRegistry
    store: JobStore
    keys: KeyFile | None
    rate_limit: RateLimit
    publisher: TaskPublisher
    decoders: ThreadPoolExecutor
    sender: ThreadPoolExecutor
    metrics_registry: CollectorRegistry
    closing: Event
    concurrency: ConcurrencyLimit


class State(TypedDict):
    """What the lifespan yields; Starlette copies it to each `request.state`."""

    service: Service


async def _service(request: Request) -> Service:
    return cast(Service, request.state.service)


ServiceOf = Annotated[Service, Depends(_service)]
