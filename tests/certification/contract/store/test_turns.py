"""Which job is next, and which worker may have it."""

from dataclasses import replace
from datetime import UTC, datetime

from certification.contract.store.jobs import JobStore, Request
from certification.contract.store.leases import Leases
from certification.contract.store.workers import WorkerInfo
from tests.certification.contract.store.holding import ENGINE, HALF, claimed, look


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


def test_a_pinned_job_does_not_wait_for_a_worker_that_lost_its_model(leases: Leases, job_id: str) -> None:
    worker = WorkerInfo(id="w1", host="h", models=["m"], started_at=datetime.now(UTC))
    leases.beat(worker, ttl=60)
    first = claimed(leases, job_id, "w1", "x")
    leases.pin(first, ENGINE, "x", "w")
    leases.hand_back(first)
    leases.beat(worker.model_copy(update={"models": ["another"]}), ttl=60)
    assert claimed(leases, job_id, "w2", "y").engine is None
