"""What fell by the wayside is found again: silent holders, lost messages, workers that are gone."""

import time
from datetime import UTC, datetime

import pytest
import redis

from smoothcert.jobs.jobs import JobStore, Request
from smoothcert.jobs.leases import Due, Leases, LostLease, Terms
from smoothcert.jobs.shares import Shares
from smoothcert.jobs.workers import WorkerInfo
from tests.jobs.conftest import LEASE
from tests.jobs.holding import claimed, look


def test_the_janitor_gives_up_a_job_that_loses_every_worker(
    store: JobStore, leases: Leases, job_id: str
) -> None:
    for _ in range(leases.terms.attempts):
        claimed(leases, job_id)
    time.sleep(LEASE * 1.2)
    assert leases.overdue() == []
    job = look(store, job_id)
    assert job.status == "failed"
    assert job.error is not None
    assert "3 attempts" in job.error.detail


def test_the_janitor_requeues_a_job_whose_lease_ran_out(store: JobStore, leases: Leases, job_id: str) -> None:
    late = claimed(leases, job_id)
    assert leases.overdue() == []
    time.sleep(LEASE * 1.2)
    assert leases.overdue() == [Due(job_id, "m")]
    assert look(store, job_id).status == "queued"
    with pytest.raises(LostLease):
        leases.renew(late)
    assert leases.overdue() == []


def test_a_message_is_lost_when_its_queue_is_empty(leases: Leases, job_id: str) -> None:
    assert leases.overdue(idle=["m"]) == []  # it may still be on its way
    time.sleep(leases.terms.grace * 1.2)
    assert leases.overdue() == []  # it may be waiting
    assert leases.overdue(idle=["m"]) == [Due(job_id, "m")]
    assert leases.overdue(idle=["m"]) == []


def test_a_record_that_expired_leaves_no_trace_in_the_queue(
    client: redis.Redis, request_: Request, job_id: str, store: JobStore
) -> None:
    leases = Leases(client, Terms(grace=0.0))
    client.delete(f"{store.root}:job:{job_id}")
    assert leases.overdue(idle=["m"]) == []
    assert store.depth() == 0


def test_a_record_that_expired_under_its_holder_leaves_no_trace(
    leases: Leases, client: redis.Redis, job_id: str, store: JobStore
) -> None:
    claimed(leases, job_id)
    client.delete(f"{store.root}:job:{job_id}")
    time.sleep(LEASE * 1.2)
    assert leases.overdue() == []
    assert client.zcard(f"{store.root}:running") == 0


def test_a_janitor_takes_no_more_at_once_than_it_is_told(
    store: JobStore, client: redis.Redis, request_: Request
) -> None:
    leases = Leases(client, Terms(lease=0.01, grace=0.0))
    ids = [store.submit(request_).job_id for _ in range(3)]
    assert [due.job_id for due in leases.overdue(idle=["m"], limit=2)] == ids[:2]
    for worker, job_id in enumerate(ids):
        claimed(leases, job_id, f"w{worker}")
    time.sleep(0.02)
    assert [len(leases.overdue(limit=2)) for _ in range(3)] == [2, 1, 0]


def hour_ahead(client: redis.Redis, store: JobStore, job_id: str) -> None:
    """What a record says when the server's clock was set back by an hour since it was written."""
    hash_ = f"{store.root}:job:{job_id}"
    for name in ("lease", "renewed", "sent"):
        if (written := client.hget(hash_, name)) is not None:
            client.hset(hash_, name, int(written) + 3_600_000_000)
    for set_ in (f"{store.root}:running", f"{store.root}:workers"):
        for member, score in client.zrange(set_, 0, -1, withscores=True):
            client.zadd(set_, {member: score + 3_600_000_000})


def test_a_lease_given_before_the_clock_was_set_back_still_ends(
    store: JobStore, leases: Leases, job_id: str, client: redis.Redis
) -> None:
    claimed(leases, job_id)
    hour_ahead(client, store, job_id)
    assert leases.overdue() == [], "its holder may be alive"
    assert leases.claim(job_id, "w2", "x") == "busy"
    time.sleep(LEASE * 1.2)
    assert leases.overdue() == [Due(job_id, "m")]


def test_a_model_that_nobody_asks_for_any_more_is_forgotten(
    store: JobStore, leases: Leases, job_id: str, client: redis.Redis
) -> None:
    leases.overdue()
    assert client.smembers(f"{store.root}:models") == {b"m"}
    store.cancel(job_id)
    leases.overdue()
    assert not client.exists(f"{store.root}:models")


def test_a_message_sent_before_the_clock_was_set_back_can_be_lost(
    store: JobStore, leases: Leases, job_id: str, client: redis.Redis
) -> None:
    hour_ahead(client, store, job_id)
    assert leases.overdue(idle=["m"]) == [Due(job_id, "m")]


def test_workers_are_listed_while_they_live(store: JobStore, leases: Leases) -> None:
    worker = WorkerInfo(id="w1", host="h", models=["m"], started_at=datetime.now(UTC))
    leases.beat(worker, ttl=60)
    leases.beat(worker.model_copy(update={"id": "w2"}), ttl=1)
    assert {info.id for info in store.workers()} == {"w1", "w2"}
    time.sleep(1.1)
    assert store.workers() == [worker.model_copy(update={"silence": 60})]
    leases.leave("w1")
    assert store.workers() == []


def test_nothing_is_kept_of_workers_that_died_or_left(leases: Leases, client: redis.Redis) -> None:
    worker = WorkerInfo(id="w1", host="h", models=["m"], started_at=datetime.now(UTC))
    for name, ttl in (("w1", 60), ("dead", 1)):
        leases.beat(worker.model_copy(update={"id": name}), ttl=ttl)
        Shares(client, name, "x").announce()
    for _ in range(6):
        time.sleep(0.2)
        leases.beat(worker, ttl=60)  # which says nothing about the other
    keys = "{smoothcert}:workers", "{smoothcert}:workers:about", "{smoothcert}:workers:platform"
    assert [client.zrange(keys[0], 0, -1), *map(client.hkeys, keys[1:])] == [[b"w1"]] * 3
    leases.leave("w1")
    assert not client.exists(*keys)


def test_what_workers_compute_on_is_known_as_long_as_they_live(leases: Leases, client: redis.Redis) -> None:
    Shares(client, "w1", "x").announce()
    assert client.ttl("{smoothcert}:workers:platform") > 60
    client.expire("{smoothcert}:workers:platform", 1)
    leases.beat(WorkerInfo(id="w1", host="h", models=["m"], started_at=datetime.now(UTC)), ttl=60)
    assert client.ttl("{smoothcert}:workers:platform") > 60


def test_a_worker_that_died_before_the_clock_was_set_back_is_forgotten(
    store: JobStore, leases: Leases, client: redis.Redis
) -> None:
    dead = WorkerInfo(id="w1", host="h", models=["m"], started_at=datetime.now(UTC))
    leases.beat(dead, ttl=1)
    hour_ahead(client, store, "none")
    alive = dead.model_copy(update={"id": "w2"})
    leases.beat(alive, ttl=1)
    time.sleep(1.1)
    leases.beat(alive, ttl=60)
    assert [worker.id for worker in store.workers()] == ["w2"]


def test_signs_of_life_are_taken_by_a_full_broker(
    leases: Leases, store: JobStore, client: redis.Redis
) -> None:
    client.config_set("maxmemory", 1)
    try:
        leases.beat(WorkerInfo(id="w1", host="h", models=["m"], started_at=datetime.now(UTC)), ttl=60)
    finally:
        client.config_set("maxmemory", 0)
    assert [worker.id for worker in store.workers()] == ["w1"]


def test_a_worker_lives_as_long_as_it_said_whoever_speaks_meanwhile(store: JobStore, leases: Leases) -> None:
    first, second = (
        WorkerInfo(id=name, host="h", models=["m"], started_at=datetime.now(UTC)) for name in ("w1", "w2")
    )
    leases.beat(first, ttl=3)
    leases.beat(second, ttl=3)
    time.sleep(0.5)
    assert {worker.id for worker in store.workers()} == {"w1", "w2"}


def test_a_worker_that_said_nothing_of_itself_is_passed_over(store: JobStore, client: redis.Redis) -> None:
    client.zadd(f"{store.root}:workers", {"w1": (time.time() + 60) * 1_000_000})
    assert store.workers() == []
