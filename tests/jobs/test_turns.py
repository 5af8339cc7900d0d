"""Which job is next, and which worker may have it."""

import time
from dataclasses import replace
from datetime import UTC, datetime

import redis

from smoothcert.jobs.jobs import JobStore, Request
from smoothcert.jobs.leases import Leases, Terms
from smoothcert.jobs.workers import WorkerInfo
from tests.jobs.conftest import LEASE
from tests.jobs.holding import ENGINE, HALF, claimed, look


def test_a_job_handed_back_queues_behind_the_others(
    store: JobStore, leases: Leases, job_id: str, request_: Request
) -> None:
    claim = claimed(leases, job_id)
    other = store.submit(request_).job_id
    leases.progress(claim, "state", HALF)
    leases.hand_back(claim)
    job = look(store, job_id)
    assert (job.status, job.queue_position, job.attempts) == ("queued", 1, 0)
    assert look(store, other).queue_position == 0
    assert claimed(leases, job_id, "w2").job_id == other, "the record says which is next"
    assert claimed(leases, other, "w3").state == "state"


def test_a_message_brings_the_first_job_of_its_queue_so_that_none_waits_for_its_own(
    store: JobStore, leases: Leases, job_id: str, request_: Request
) -> None:
    later = store.submit(request_).job_id
    assert claimed(leases, later, "w1").job_id == job_id
    assert claimed(leases, later, "w2").job_id == later


def test_jobs_of_a_batch_let_single_ones_pass_but_not_for_ever(
    store: JobStore, leases: Leases, request_: Request
) -> None:
    batch = [store.submit(replace(request_, lane="batch")).job_id for _ in range(2)]
    singles = [store.submit(request_).job_id for _ in range(5)]
    order = [claimed(leases, batch[0], f"w{i}").job_id for i in range(7)]
    assert order == [*singles[:4], batch[0], singles[4], batch[1]]


def test_single_jobs_that_nobody_let_pass_are_not_held_against_them(
    store: JobStore, leases: Leases, request_: Request
) -> None:
    for worker in range(5):
        job_id = store.submit(request_).job_id
        assert claimed(leases, job_id, f"w{worker}").job_id == job_id
    store.submit(replace(request_, lane="batch"))
    single = store.submit(request_).job_id
    assert claimed(leases, single, "w5").job_id == single


def test_a_job_pinned_elsewhere_holds_up_none_behind_it(
    store: JobStore, leases: Leases, job_id: str, request_: Request
) -> None:
    leases.beat(WorkerInfo(id="w1", host="h", models=["m"], started_at=datetime.now(UTC)), ttl=60)
    first = claimed(leases, job_id, "w1", "x")
    leases.pin(first, ENGINE, "x", "w")
    leases.hand_back(first)
    behind = store.submit(request_).job_id
    assert claimed(leases, job_id, "w2", "y").job_id == behind
    assert look(store, job_id).queue_position == 0


def test_a_pinned_job_waits_for_its_platform_while_that_lives(leases: Leases, job_id: str) -> None:
    worker = WorkerInfo(id="w1", host="h", models=["m"], started_at=datetime.now(UTC))
    leases.beat(worker, ttl=60)
    first = claimed(leases, job_id, "w1", "x")
    leases.pin(first, ENGINE, "x", "w")
    leases.progress(first, "state", HALF)
    leases.hand_back(first)
    assert leases.claim(job_id, "w2", "y") == "elsewhere"
    leases.leave("w1")
    again = claimed(leases, job_id, "w2", "y")
    assert (again.state, again.engine, again.weights) == (None, None, None)
    assert again.seed == first.seed


def test_a_pinned_job_whose_holder_is_silent_is_left_to_another_of_its_platform(
    leases: Leases, job_id: str
) -> None:
    worker = WorkerInfo(id="w1", host="h", models=["m"], started_at=datetime.now(UTC))
    for name in ("w1", "w3"):
        leases.beat(worker.model_copy(update={"id": name}), ttl=60)
    silent = claimed(leases, job_id, "w1", "x")
    leases.pin(silent, ENGINE, "x", "w")
    leases.progress(silent, "state", HALF)
    leases.claim("none", "w3", "x")  # which says what it computes on
    time.sleep(LEASE * 1.2)
    assert leases.claim(job_id, "w2", "y") == "elsewhere"
    assert claimed(leases, job_id, "w3", "x").state == "state"


def test_a_pinned_job_does_not_wait_for_a_worker_that_lost_its_model(leases: Leases, job_id: str) -> None:
    worker = WorkerInfo(id="w1", host="h", models=["m"], started_at=datetime.now(UTC))
    leases.beat(worker, ttl=60)
    first = claimed(leases, job_id, "w1", "x")
    leases.pin(first, ENGINE, "x", "w")
    leases.hand_back(first)
    leases.beat(worker.model_copy(update={"models": ["another"]}), ttl=60)
    assert claimed(leases, job_id, "w2", "y").engine is None


def test_a_job_that_starts_again_on_another_platform_stays_there(leases: Leases, job_id: str) -> None:
    first = claimed(leases, job_id, "w1", "x")
    leases.pin(first, ENGINE, "x", "w")
    leases.hand_back(first)
    second = claimed(leases, job_id, "w2", "y")
    leases.pin(second, ENGINE, "y", "w")
    leases.progress(second, "state", HALF)
    leases.hand_back(second)
    assert claimed(leases, job_id, "w3", "y").state == "state"


def test_a_record_that_expired_in_its_queue_holds_up_none_behind_it(
    store: JobStore, leases: Leases, job_id: str, request_: Request
) -> None:
    behind = store.submit(request_).job_id
    store.client.delete(f"{store.root}:job:{job_id}")
    assert claimed(leases, behind).job_id == behind
    assert store.depth() == 0


def test_a_queued_job_that_broke_more_workers_than_are_allowed_now_fails(
    store: JobStore, leases: Leases, job_id: str, client: redis.Redis
) -> None:
    """As after SMOOTHCERT_ATTEMPTS was lowered."""
    for _ in range(2):
        claimed(leases, job_id)
    time.sleep(LEASE * 1.2)
    assert len(leases.overdue()) == 1
    assert Leases(client, Terms(attempts=2)).claim(job_id, "w2", "x") == "exhausted"
    job = look(store, job_id)
    assert job.status == "failed"
    assert job.error is not None
    assert "2 attempts" in job.error.detail
