"""A worker says that it is ready when it is, and takes no job before."""

import os
import signal

from smoothcert.jobs.delivery import queue_of
from tests.worker.conftest import write_model
from tests.worker.plant import MODEL, Plant, Worker, eventually

PATIENCE = 60.0  # seconds: workers start, and load, one after the other


def is_ready(plant: Plant, worker: Worker) -> bool | None:
    """Whether it says so; None before it has said anything."""
    said = {info.id.split("-")[-2]: info.ready for info in plant.store.workers()}
    return said.get(str(worker.process.pid))


def test_a_worker_that_is_loading_says_so_and_leaves_the_jobs_to_others(plant: Plant) -> None:
    gate = plant.folder / "open"
    slow = plant.launch(STAND_IN_GATE=gate)
    assert eventually(lambda: is_ready(plant, slow) is False or None, PATIENCE)
    job_id = plant.submit(n=1000)
    assert plant.client.llen(queue_of(MODEL)) == 1
    fast = plant.launch()
    eventually(lambda: is_ready(plant, fast), PATIENCE)
    assert plant.ended(job_id).status == "succeeded"
    assert is_ready(plant, slow) is False
    fast.stop()
    gate.touch()
    assert eventually(lambda: is_ready(plant, slow), PATIENCE)
    assert plant.ended(plant.submit(n=1000)).status == "succeeded"

    gate.unlink()
    os.kill(slow.child, signal.SIGKILL)
    assert eventually(lambda: is_ready(plant, slow) is False or None, PATIENCE), (
        "its successor has to load first"
    )


def test_the_default_model_is_loaded_first_and_no_more_than_told(plant: Plant) -> None:
    for name in ("another", "zebra"):
        write_model(plant.folder / name)
    worker = plant.launch(SMOOTHCERT_DEFAULT_MODEL="zebra", SMOOTHCERT_WARM=2)
    eventually(lambda: is_ready(plant, worker), PATIENCE)
    lines = worker.log.read_text().splitlines()
    loaded = [line for line in lines if '"event": "loaded"' in line]
    assert ['"model": "zebra"' in line for line in loaded] == [True, False]
    assert '"model": "another"' in loaded[1]
