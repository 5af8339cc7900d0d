"""A job of N votes, held by w1, beside two idle workers."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
import redis

from smoothcert.jobs.jobs import JobStore, Request
from smoothcert.jobs.leases import Claim, Leases, Terms
from smoothcert.jobs.shares import Shares
from smoothcert.jobs.workers import WorkerInfo
from smoothcert.schemas.job import Progress
from smoothcert.schemas.parameters import Parameters
from tests.jobs.holding import ENGINE, claimed
from tests.jobs.shares.taking import WORKERS, N


@pytest.fixture
def lease() -> float:
    """Nobody is slower than this; `short_lease` is for the tests that wait for it to run out."""
    return 60.0


@pytest.fixture
def leases(client: redis.Redis, lease: float) -> Leases:
    return Leases(client, Terms(lease=lease))


@pytest.fixture
def long(request_: Request) -> Request:
    return replace(request_, parameters=Parameters(sigma=0.5, n=N))


@pytest.fixture
def shares(client: redis.Redis, leases: Leases) -> dict[str, Shares]:
    """Three living workers alike; w1 will hold the job."""
    for name in WORKERS:
        info = WorkerInfo(id=name, host="h", models=["m"], started_at=datetime.now(UTC))
        leases.beat(info, ttl=60)
    made = {name: Shares(client, name, "x", leases.terms) for name in WORKERS}
    for one in made.values():
        one.announce()
    return made


@pytest.fixture
def claim(store: JobStore, leases: Leases, long: Request, shares: dict[str, Shares]) -> Claim:
    """Held by w1, pinned, at vote 40."""
    claim = claimed(leases, store.submit(long).job_id)
    leases.pin(claim, ENGINE, "x", "weights")
    leases.progress(claim, "40", Progress(samples=40, of=N))
    return claim


@pytest.fixture
def division(shares: dict[str, Shares], claim: Claim) -> str:
    division = shares["w1"].divide(claim, 40).division
    assert division is not None
    return division
