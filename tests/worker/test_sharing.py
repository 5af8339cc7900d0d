"""Whole workers on one job: whatever happens to them, its counts are those that one worker would have got."""

import json
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
    eventually(lambda: ready(shared_plant) or None)
    yield shared_plant
    for worker in shared_plant.workers:
        if worker.process.poll() is None:
            os.kill(worker.child, signal.SIGCONT)


def ready(plant: Plant) -> bool:
    known = plant.client.hkeys(f"{plant.store.root}:workers:platform")
    pids = {int(worker_id.split(b"-")[-2]) for worker_id in known}
    return {worker.process.pid for worker in plant.workers} <= pids


def events(worker: Worker, job_id: str) -> list[dict[str, object]]:
    """What a worker says of one job."""
    lines = [line for line in worker.log.read_text().splitlines() if line.startswith("{")]
    return [event for event in map(json.loads, lines) if event.get("job") == job_id]


def told(worker: Worker, job_id: str, what: str) -> list[dict[str, object]]:
    return [event for event in events(worker, job_id) if event["event"] == what]


def helpers(plant: Plant, job_id: str) -> list[Worker]:
    return [worker for worker in plant.workers if told(worker, job_id, "helping")]


def shared(plant: Plant) -> tuple[str, Worker, list[Worker]]:
    """A job that two help with, its holder, and those two."""
    job_id = seeded(plant, LONG)
    eventually(lambda: len(helpers(plant, job_id)) == 2)
    return job_id, plant.holder(job_id), helpers(plant, job_id)


def test_idle_workers_share_a_long_job_and_its_counts_are_those_of_one(crew: Plant) -> None:
    job_id, _, both = shared(crew)
    assert counts_of(crew, job_id) == undisturbed(LONG)
    votes = [eventually(lambda one=one: told(one, job_id, "helped"))[0]["votes"] for one in both]
    assert all(isinstance(cast, int) and cast > LONG / 10 for cast in votes)
    job = crew.job(job_id)
    assert (job.attempts, job.progress.samples) == (1, LONG)
    assert not crew.client.keys(f"*{job_id}:*") + crew.client.keys(f"*portions:{job_id}")


def test_a_short_job_is_not_shared(crew: Plant) -> None:
    job_id = seeded(crew, 20_000)
    assert counts_of(crew, job_id) == undisturbed(20_000)
    assert not any(told(worker, job_id, "divided") for worker in crew.workers)


def test_a_helper_killed_costs_its_portion_only(crew: Plant) -> None:
    job_id, _, both = shared(crew)
    both[0].process.kill()
    assert counts_of(crew, job_id) == undisturbed(LONG)
    assert crew.job(job_id).attempts == 1
    both[0].process.wait()


def test_a_frozen_helper_that_wakes_brings_nothing_that_was_given_to_another(crew: Plant) -> None:
    job_id, _, (frozen, _) = shared(crew)
    os.kill(frozen.child, signal.SIGSTOP)
    assert counts_of(crew, job_id) == undisturbed(LONG)
    ended = crew.job(job_id)
    os.kill(frozen.child, signal.SIGCONT)
    eventually(lambda: told(frozen, job_id, "helped"))
    assert told(frozen, job_id, "late")
    assert crew.job(job_id) == ended


def test_a_holder_killed_leaves_what_others_brought_to_the_next(crew: Plant) -> None:
    job_id, holder, _ = shared(crew)
    crew.running(job_id, samples=LONG // 3)
    holder.process.kill()
    assert counts_of(crew, job_id) == undisturbed(LONG)
    assert crew.job(job_id).attempts == 2
    holder.process.wait()


def test_a_holder_whose_division_the_broker_lost_goes_on_alone(crew: Plant) -> None:
    job_id, holder, _ = shared(crew)
    with crew.client.pipeline() as write:
        write.hdel(f"{crew.store.root}:job:{job_id}", "division", "next")
        write.delete(*(f"{crew.store.root}:{part}:{job_id}" for part in ("portions", "counts")))
        write.execute()
    assert counts_of(crew, job_id) == undisturbed(LONG)
    assert told(holder, job_id, "division lost")
    assert crew.job(job_id).attempts == 1


def test_helpers_leave_for_a_job_that_waits(crew: Plant) -> None:
    job_id, _, _ = shared(crew)
    assert crew.ended(crew.submit(n=1000)).status == "succeeded"
    assert not crew.job(job_id).ended
    assert counts_of(crew, job_id) == undisturbed(LONG)
