"""What lives as long as the application does, and how a route gets at it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import Annotated, TypedDict, cast

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from certification.catalogue import Catalogue
from certification.contract.store.delivery import Courier
from certification.contract.store.jobs import ANYONE, JobStore
from service.settings import Settings


@dataclass(frozen=True)
class Service:
    """`decoders` are the only threads that decode uploads: their number bounds the memory it takes, and what
    the C library keeps of it for each thread afterwards.

    `closing` is set when the server is told to stop: whoever waits for a job is then answered at once.
    """

    settings: Settings
    catalogue: Catalogue
    store: JobStore
    courier: Courier
    decoders: ThreadPoolExecutor
    registry: CollectorRegistry
    closing: Event


class State(TypedDict):
    """Yielded by the lifespan."""

    service: Service


def _service(request: Request) -> Service:
    return cast(Service, request.state.service)


def _caller() -> str:
    """Whose jobs these are. While no API keys are configured, everybody is the same caller."""
    return ANYONE


ServiceOf = Annotated[Service, Depends(_service)]
Caller = Annotated[str, Depends(_caller)]
