"""What lives as long as the application does, and how a route gets at it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import Annotated, TypedDict, cast

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from service.api_keys import KeyFile
from service.polling import ConcurrencyLimit
from service.settings import Settings
from smoothcert.jobs.publisher import TaskPublisher
from smoothcert.jobs.rate_limit import RateLimit
from smoothcert.jobs.store import JobStore
from smoothcert.models.registry import ModelRegistry


@dataclass(frozen=True)
class Service:
    """`decoders` are the only threads that decode uploads: their number bounds the memory it takes, and what
    the C library keeps of it for each thread afterwards. `sender` is the one thread that sends ids to the
    workers: nobody waits for it.

    `keys` is None where everybody may call. `closing` is set when the server is told to stop: whoever waits
    for a job is then answered at once.
    """

    settings: Settings
    catalogue: ModelRegistry
    store: JobStore
    keys: KeyFile | None
    rate_limit: RateLimit
    publisher: TaskPublisher
    decoders: ThreadPoolExecutor
    sender: ThreadPoolExecutor
    registry: CollectorRegistry
    closing: Event
    concurrency: ConcurrencyLimit


class State(TypedDict):
    """Yielded by the lifespan."""

    service: Service


async def _service(request: Request) -> Service:
    return cast(Service, request.state.service)


ServiceOf = Annotated[Service, Depends(_service)]
