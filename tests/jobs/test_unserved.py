"""A job whose model no worker has any more ends, and says why."""

import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import redis

from smoothcert.jobs.jobs import JobStore, Lane, Request
from smoothcert.jobs.leases import Leases, Terms
from smoothcert.jobs.workers import WorkerInfo
from tests.jobs.holding import claimed, look

SOON = 0.2  # seconds


@pytest.fixture
def leases(client: redis.Redis) -> Leases:
    return Leases(client, Terms(lease=60, grace=60, unserved=SOON))


def alive(leases: Leases, *models: str, worker: str = "w1") -> None:
    info = WorkerInfo(id=worker, host="h", models=list(models), started_at=datetime.now(UTC))
    leases.beat(info, ttl=60)


def given_up(leases: Leases) -> list[str]:
    return [job.job_id for job in leases.give_up_unserved()]


@pytest.mark.parametrize("lane", ["single", "batch"])
def test_a_job_of_a_model_that_is_gone_ends_with_an_error_that_names_it(
    store: JobStore, leases: Leases, request_: Request, lane: Lane
) -> None:
    alive(leases, "another")
    job_id = store.submit(replace(request_, lane=lane, model="a%1 b")).job_id
    assert given_up(leases) == []
    time.sleep(SOON * 1.2)
    assert given_up(leases) == [job_id]
    job = look(store, job_id)
    assert (job.status, job.queue_position) == ("failed", None)
    assert job.error is not None
    assert job.error.status == 503
    assert job.error.detail == "No worker has had the model a%1 b for 0.2 s, so this job was given up."
    assert given_up(leases) == []


def test_a_job_waits_for_a_busy_worker_however_long(
    store: JobStore, leases: Leases, request_: Request
) -> None:
    alive(leases, "m")
    job_id = store.submit(request_).job_id
    time.sleep(SOON * 1.2)
    assert given_up(leases) == []
    assert look(store, job_id).status == "queued"


def test_the_wait_begins_when_the_last_worker_goes(
    store: JobStore, leases: Leases, request_: Request
) -> None:
    alive(leases, "m")
    job_id = store.submit(request_).job_id
    time.sleep(SOON * 1.2)
    given_up(leases)
    leases.leave("w1")
    assert given_up(leases) == []
    time.sleep(SOON * 1.2)
    assert given_up(leases) == [job_id]


def test_a_job_whose_holder_died_waits_as_long_again(
    store: JobStore, leases: Leases, request_: Request, client: redis.Redis
) -> None:
    job_id = store.submit(request_).job_id
    hasty = Leases(client, Terms(lease=0.01, unserved=SOON))
    claimed(hasty, job_id)
    time.sleep(SOON * 1.2)
    assert given_up(leases) == [], "it is held"
    hasty.overdue()
    assert given_up(leases) == []
    time.sleep(SOON * 1.2)
    assert given_up(leases) == [job_id]


def test_time_in_which_nobody_looked_does_not_count(
    store: JobStore, leases: Leases, request_: Request, client: redis.Redis
) -> None:
    """All workers were away, or this machine slept: who is back first leaves the others their jobs."""
    alive(leases, "m")
    job_id = store.submit(request_).job_id
    assert given_up(leases) == []
    leases.leave("w1")
    yesterday = (int(time.time()) - 86400) * 1_000_000
    client.hset(f"{store.root}:served", mapping={"": yesterday, "m": yesterday})
    client.zadd(f"{store.root}:queue:m", {job_id: yesterday})
    alive(leases, "another", worker="w2")
    assert given_up(leases) == []
    time.sleep(SOON * 1.2)
    assert given_up(leases) == [job_id], "now somebody looked all the while"


def test_whoever_looks_twice_a_minute_looks_often_enough(
    store: JobStore, leases: Leases, request_: Request, client: redis.Redis
) -> None:
    job_id = store.submit(request_).job_id
    now = int(time.time()) * 1_000_000
    client.hset(f"{store.root}:served", mapping={"": now - 30_000_000, "m": now - 3600_000_000})
    client.zadd(f"{store.root}:queue:m", {job_id: now - 3600_000_000})
    assert given_up(leases) == [job_id]


def test_no_more_are_given_up_at_once_than_asked_for(
    store: JobStore, leases: Leases, request_: Request
) -> None:
    ids = [store.submit(request_).job_id for _ in range(3)]
    given_up(leases)
    time.sleep(SOON * 1.2)
    assert [job.job_id for job in leases.give_up_unserved(limit=2)] == ids[:2]
    assert given_up(leases) == ids[2:]


def test_the_first_look_of_all_ends_nothing(
    store: JobStore, leases: Leases, request_: Request, client: redis.Redis
) -> None:
    """As after an upgrade from a version that kept no such notes."""
    job_id = store.submit(request_).job_id
    client.zadd(f"{store.root}:queue:m", {job_id: 1})
    assert given_up(leases) == []


def test_a_record_that_expired_in_its_queue_is_not_written_again(
    store: JobStore, leases: Leases, request_: Request, client: redis.Redis
) -> None:
    job_id = store.submit(request_).job_id
    given_up(leases)
    client.delete(f"{store.root}:job:{job_id}")
    time.sleep(SOON * 1.2)
    assert given_up(leases) == []
    assert store.job(job_id) is None


def test_what_is_remembered_of_models_expires(store: JobStore, leases: Leases, request_: Request) -> None:
    alive(leases, "m")
    store.submit(request_)
    given_up(leases)
    assert store.client.ttl(f"{store.root}:served") > 0
