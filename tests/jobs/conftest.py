"""A store on a real Valkey, and what goes into it."""

from collections.abc import Iterator

import pytest
import redis

from smoothcert.images.pixels import CertifiedImage
from smoothcert.jobs.broker import connect
from smoothcert.jobs.store import JobStore, Request
from smoothcert.jobs.votes import VoteStore
from smoothcert.schemas.parameters import Parameters
from tests.jobs.tasks import N


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with connect(redis_url) as client:
        yield client


@pytest.fixture
def store(client: redis.Redis) -> JobStore:
    return JobStore(client)


@pytest.fixture
def votes(client: redis.Redis) -> VoteStore:
    """Worker w1, of platform x."""
    return VoteStore(client, "w1", "x")


@pytest.fixture
def request_() -> Request:
    image = CertifiedImage.of(bytes(range(4)), (1, 2, 2), ["as it came"])
    return Request(model="m", parameters=Parameters(sigma=0.5, n=N), image=image)


@pytest.fixture
def job_id(store: JobStore, request_: Request) -> str:
    return store.submit(request_).job_id
