"""A broker without memory takes no new job, and lets every accepted one go on to its end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
import redis

from smoothcert.jobs.jobs import JobStore, Request
from smoothcert.jobs.leases import Claim, Leases, Terms
from smoothcert.jobs.shares import Counted, Shares
from smoothcert.jobs.workers import WorkerInfo
from smoothcert.schemas.job import Problem
from tests.jobs.holding import ENGINE, HALF, certificate, claimed, look

Act = Callable[[Leases, JobStore, Claim], object]
ACTS: dict[str, Act] = {
    "pin": lambda leases, _, claim: leases.pin(claim, ENGINE, "x", "w"),
    "renew": lambda leases, _, claim: leases.renew(claim),
    "progress": lambda leases, _, claim: leases.progress(claim, "state", HALF),
    "restart": lambda leases, _, claim: leases.restart(claim),
    "hand back": lambda leases, _, claim: leases.hand_back(claim),
    "finish": lambda leases, _, claim: leases.finish(claim, certificate(claim.seed), HALF),
    "fail": lambda leases, _, claim: leases.fail(claim, Problem(title="t", status=500, detail="d")),
    "cancel": lambda _, store, claim: store.cancel(claim.job_id),
    "take over": lambda leases, _, claim: claimed(leases, claim.job_id),
}


@pytest.fixture
def leases(client: redis.Redis) -> Leases:
    return Leases(client, Terms(lease=60, grace=0.0, unserved=0.001))


@contextmanager
def full(client: redis.Redis) -> Iterator[None]:
    client.config_set("maxmemory", 1)
    try:
        yield
    finally:
        client.config_set("maxmemory", 0)


def silence(client: redis.Redis, job_id: str) -> None:
    """The holder's lease is over."""
    client.hset(f"{{smoothcert}}:job:{job_id}", mapping={"lease": 2, "renewed": 1})
    client.zadd("{smoothcert}:running", {job_id: 2})


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS.keys())
def test_whoever_holds_a_job_may_do_all_it_does(
    leases: Leases, store: JobStore, client: redis.Redis, job_id: str, act: Act
) -> None:
    claim = claimed(leases, job_id)
    before = look(store, job_id).version
    with full(client):
        act(leases, store, claim)
    assert act in (ACTS["pin"], ACTS["renew"], ACTS["restart"]) or look(store, job_id).version > before


def test_a_queued_job_is_claimed(leases: Leases, client: redis.Redis, job_id: str) -> None:
    with full(client):
        assert claimed(leases, job_id).job_id == job_id


@pytest.mark.parametrize("attempts", [1, 3])
def test_a_silent_holder_loses_its_job(
    leases: Leases, store: JobStore, client: redis.Redis, job_id: str, attempts: int
) -> None:
    for _ in range(attempts):
        claimed(leases, job_id)
    silence(client, job_id)
    with full(client):
        leases.overdue()
    assert look(store, job_id).status == ("failed" if attempts == 3 else "queued")


def test_a_lost_message_is_found(leases: Leases, client: redis.Redis, job_id: str) -> None:
    with full(client):
        assert [due.job_id for due in leases.overdue(idle=["m"])] == [job_id]


def test_a_lease_of_before_the_clock_was_set_back_is_mended(
    leases: Leases, client: redis.Redis, job_id: str
) -> None:
    claimed(leases, job_id)
    ahead = int(client.time()[0] + 3600) * 1_000_000
    client.hset(f"{{smoothcert}}:job:{job_id}", mapping={"lease": ahead + 60_000_000, "renewed": ahead})
    client.zadd("{smoothcert}:running", {job_id: ahead + 60_000_000})
    with full(client):
        leases.overdue()
    assert (client.zscore("{smoothcert}:running", job_id) or 0) < ahead


def test_a_job_that_nobody_can_serve_ends(
    leases: Leases, store: JobStore, client: redis.Redis, job_id: str
) -> None:
    leases.give_up_unserved()
    with full(client):
        while not leases.give_up_unserved():
            pass
    assert look(store, job_id).status == "failed"


def test_a_worker_says_what_it_computes_on(client: redis.Redis) -> None:
    """Where it could not, it would be asked to share no job."""
    with full(client):
        Shares(client, "w9", "x").announce()
    assert client.hget("{smoothcert}:workers:platform", "w9") == b"x"


def test_a_shared_job_goes_on(
    leases: Leases, client: redis.Redis, store: JobStore, request_: Request
) -> None:
    shares = {name: Shares(client, name, "x", leases.terms) for name in ("w1", "w2")}
    for name, one in shares.items():
        leases.beat(WorkerInfo(id=name, host="h", models=["m"], started_at=datetime.now(UTC)), ttl=60)
        one.announce()
    claim = claimed(leases, store.submit(request_).job_id)
    leases.pin(claim, ENGINE, "x", "w")
    leases.progress(claim, "50", HALF)
    division = shares["w1"].divide(claim, 50).division
    assert division is not None
    helper = shares["w2"]
    with full(client):
        helper.announce()
        portion = helper.exchange(claim.job_id, division, want=10).portion
        assert portion is not None
        helper.hold(claim.job_id, division)
        following = helper.exchange(claim.job_id, division, want=10, done=Counted(portion, "counts")).portion
        assert following is not None
        helper.leave(claim.job_id, following)
        assert shares["w1"].gather(claim, division) == {50: "counts"}
