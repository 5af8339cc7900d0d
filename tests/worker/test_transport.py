"""A full broker takes no new job, and loses no worker and no job that it has."""

from collections.abc import Iterator

import pytest

from tests.worker.plant import Plant, eventually


@pytest.fixture
def full(plant: Plant) -> Iterator[Plant]:
    """A plant with a worker that has three jobs to do, on a broker that is full since the first began."""
    plant.launch(SMOOTHCERT_QUANTUM=60)  # a job handed back needs a message, and that a full broker refuses
    eventually(plant.store.workers)
    jobs = [plant.submit(n=50_000) for _ in range(3)]
    plant.running(jobs[0])
    plant.client.config_set("maxmemory", 1)
    yield plant
    plant.client.config_set("maxmemory", 0)


def test_jobs_whose_messages_are_there_are_done(full: Plant) -> None:
    jobs = [full.ended(job.id) for job in full.store.page(limit=3).jobs]
    assert [job.status for job in jobs] == ["succeeded"] * 3
    assert full.workers[0].process.poll() is None
    assert b"the broker is full" in full.workers[0].log.read_bytes()
    full.client.config_set("maxmemory", 0)
    assert full.ended(full.submit(n=1000)).status == "succeeded"


def test_a_worker_that_starts_on_a_full_broker_takes_what_is_there(plant: Plant) -> None:
    job_id = plant.submit(n=2000)
    plant.client.config_set("maxmemory", 1)
    try:
        worker = plant.launch()
        assert plant.ended(job_id).status == "succeeded"
        assert b"the broker is full" in worker.log.read_bytes()
    finally:
        plant.client.config_set("maxmemory", 0)
    assert plant.ended(plant.submit(n=1000)).status == "succeeded"
    assert worker.process.poll() is None
