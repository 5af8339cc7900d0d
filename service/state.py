"""Objects that live as long as the application, and the dependency that passes them to a route."""

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
    """What all routes share.

    decoders: the only threads that decode uploads. Their number bounds the memory for decoding, including
    what malloc keeps per thread. sender: the one thread that sends messages to workers, so that requests
    don't wait for it. keys: None without API keys. closing: set when the server stops, to end all waits.
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
    """What the lifespan yields; Starlette copies it to each `request.state`."""

    service: Service


async def _service(request: Request) -> Service:
    return cast(Service, request.state.service)


ServiceOf = Annotated[Service, Depends(_service)]
