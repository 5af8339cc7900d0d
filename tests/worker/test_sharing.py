"""Whole workers on one job: whatever happens to them, its counts are those that one worker would have got."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.worker.plant import Plant, Worker, eventually
from tests.worker.test_app import counts_of, seeded, undisturbed

LONG = 600_000  # votes: six seconds of one stand-in, worth sharing


@pytest.fixture
def crew(shared_plant: Plant) -> Iterator[Plant]:
    """Three workers alike, each with a child that is ready."""
    shared_plant.staff("stand-in", "stand-in", "stand-in")
    yield shared_plant
    for worker in shared_plant.workers:
        if worker.process.poll() is None:
            os.kill(worker.child, signal.SIGCONT)


def shared(plant: Plant) -> tuple[str, Worker, list[Worker]]:
    """A job that two help with, its main worker, and those two."""
    job_id = seeded(plant, LONG)
    helpers = eventually(lambda: both if len(both := plant.at_work(job_id, helpers=True)) == 2 else None)
    return job_id, plant.holder(job_id), helpers


def test_idle_workers_share_a_long_job_and_its_counts_are_those_of_one(crew: Plant) -> None:
    job_id, _, _ = shared(crew)
    assert counts_of(crew, job_id) == undisturbed(LONG)
    job = crew.job(job_id)
    assert (job.attempts, job.progress.samples) == (0, LONG)
    assert job.started_at is not None
    assert job.finished_at is not None
    assert not crew.client.keys(f"*counts:{job_id}") + crew.client.keys(f"*tasks:{job_id}")


def test_a_short_job_is_not_shared(crew: Plant) -> None:
    job_id = seeded(crew, 20_000)
    assert counts_of(crew, job_id) == undisturbed(20_000)
    assert not any(b"asked for help" in line for worker in crew.workers for line in about(worker, job_id))


def about(worker: Worker, job_id: str) -> list[bytes]:
    """The lines of its log that name this job."""
    return [line for line in worker.log.read_bytes().splitlines() if job_id.encode() in line]


def test_a_helper_killed_costs_its_range_only(crew: Plant) -> None:
    job_id, _, both = shared(crew)
    both[0].process.kill()
    assert counts_of(crew, job_id) == undisturbed(LONG)
    assert crew.job(job_id).attempts <= 1
    both[0].process.wait()


def test_a_frozen_helper_that_wakes_changes_nothing(crew: Plant) -> None:
    job_id, _, (frozen, _) = shared(crew)
    os.kill(frozen.child, signal.SIGSTOP)
    assert counts_of(crew, job_id) == undisturbed(LONG)
    ended = crew.job(job_id)
    os.kill(frozen.child, signal.SIGCONT)
    eventually(lambda: any(b'"over"' in line or b'"not begun"' in line for line in about(frozen, job_id)))
    assert crew.job(job_id) == ended


def test_a_main_worker_killed_leaves_what_others_brought_to_the_next(crew: Plant) -> None:
    job_id, main, _ = shared(crew)
    crew.running(job_id, samples=LONG // 3)
    main.process.kill()
    assert counts_of(crew, job_id) == undisturbed(LONG)
    main.process.wait()


def test_a_broker_that_forgot_who_is_at_work_gets_every_vote_once(crew: Plant) -> None:
    job_id, _, _ = shared(crew)
    crew.client.delete(*(f"{crew.store.root}:{part}:{job_id}" for part in ("tasks", "counts")))
    assert counts_of(crew, job_id) == undisturbed(LONG)


def test_helpers_leave_for_a_job_that_waits(crew: Plant) -> None:
    job_id, _, _ = shared(crew)
    assert crew.ended(crew.submit(n=1000)).status == "succeeded"
    assert not crew.job(job_id).ended
    assert counts_of(crew, job_id) == undisturbed(LONG)
