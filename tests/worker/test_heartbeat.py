"""What a worker's parent does between deliveries."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from smoothcert.images.pixels import CertifiedImage
from smoothcert.jobs.keys import queue_of, queues_of
from smoothcert.jobs.store import Request
from smoothcert.jobs.tasks import Message, Policy, TaskPublisher
from smoothcert.schemas.parameters import Parameters
from tests.worker.conftest import write_model
from tests.worker.inside import MODEL
from tests.worker.parent import Parent
from tests.worker.plant import Plant
from worker import heartbeat
from worker.settings import Settings

BEAT = 2.0  # seconds
SOON = 0.6  # seconds: no beat, but looks whether the child has loaded a model

Hire = Callable[..., Parent]


@pytest.fixture
def hire(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hire]:
    """Makes the parent of a worker with such settings."""
    write_model(tmp_path / MODEL)
    hired: list[Parent] = []

    def made(grace: float = 5.0, **chosen: object) -> Parent:
        settings = {"redis_url": redis_url, "models": tmp_path, "beat": BEAT, "alive": tmp_path / "alive"}
        monkeypatch.setattr(heartbeat, "settings", lambda: Settings.model_validate({**settings, **chosen}))
        hired.append(Parent(redis_url))
        hired[-1].heartbeat._store.policy = Policy(
            grace=grace, unserved=float(str(chosen.get("unserved", 3600)))
        )
        return hired[-1]

    yield made
    for parent in hired:
        parent.close()


def test_a_worker_says_who_it_is_what_it_has_and_how_long_it_may_be_silent(
    hire: Hire, tmp_path: Path
) -> None:
    parent = hire()
    parent.child.beat([MODEL], silence=60)
    write_model(tmp_path / "later")
    parent.start()
    (said,) = parent.known()
    assert (said.host, said.models, said.loading, said.ready) == (
        socket.gethostname(), [MODEL], ["later"], True,
    )  # fmt: skip
    assert said.started_at == heartbeat.STARTED_AT
    assert said.silence == 4 * BEAT, "one beat that is late is no death"
    assert (tmp_path / "alive").read_text() == "ready\n"


def test_a_worker_says_so_again_at_each_beat(hire: Hire) -> None:
    parent = hire(beat=0.5)
    parent.start()
    parent.heartbeat.shutdown(parent.consumer)
    assert not parent.known(), "it left: its silence need not be waited for"
    parent.turn(0.6)
    assert parent.known()


def test_jobs_of_a_model_are_taken_as_soon_as_it_is_loaded_and_not_before(hire: Hire, tmp_path: Path) -> None:
    parent = hire()
    parent.start()
    assert [(info.ready, info.models, info.loading) for info in parent.known()] == [(False, [], [MODEL])]
    assert not parent.listens_to(queue_of(MODEL))
    assert (tmp_path / "alive").read_text() == "loading\n"
    parent.child.beat([MODEL], silence=60)
    parent.turn(SOON)
    assert [(info.ready, info.models) for info in parent.known()] == [(True, [MODEL])]
    assert all(parent.listens_to(queue) for queue in queues_of(MODEL, "x"))
    assert (tmp_path / "alive").read_text() == "ready\n"


def test_jobs_of_a_model_that_came_later_are_taken_too(hire: Hire, tmp_path: Path) -> None:
    parent = hire(beat=0.5)
    parent.child.beat([MODEL], silence=60)
    parent.start()
    write_model(tmp_path / "later")
    parent.child.beat([MODEL, "later"], silence=60)
    parent.turn(0.6)
    assert parent.listens_to(queue_of("later"))
    assert parent.known()[0].models == [MODEL, "later"]


def test_a_job_whose_message_was_lost_is_sent_again_and_once(hire: Hire) -> None:
    parent = hire(grace=0.05, beat=0.1)
    parent.child.beat([MODEL], silence=60)
    job_id = parent.submit(MODEL)
    with capture_logs() as logs:
        parent.start()
        parent.turn(SOON)
    again = [(line["job"], line["queue"]) for line in logs if line["event"] == "sent again"]
    assert again == [(job_id, queue_of(MODEL))]
    assert parent.waiting(MODEL) == 1


def test_a_job_whose_message_waits_is_not_sent_again(hire: Hire, redis_url: str) -> None:
    parent = hire(grace=0.05, beat=0.1)
    publisher = TaskPublisher(redis_url)
    publisher.send(Message(parent.submit(MODEL), queue_of(MODEL), 1))
    parent.start()
    parent.turn(SOON)
    publisher.close()
    assert parent.waiting(MODEL) == 1


def test_a_job_that_is_given_up_is_told_in_the_log(hire: Hire, redis_url: str) -> None:
    parent = hire(unserved=0.05, beat=0.1)
    job_id = parent.submit("gone")
    with capture_logs() as logs:
        parent.start()
        parent.turn(SOON)
    (line,) = (line for line in logs if line["event"].startswith("given up"))
    assert line["job"] == job_id
    job = parent.store.job(job_id)
    assert job is not None
    assert job.status == "failed"


def test_without_its_connection_a_worker_does_nothing_and_after_it_the_same_as_before(hire: Hire) -> None:
    parent = hire()
    parent.child.beat([MODEL], silence=60)
    parent.start()
    parent.heartbeat.stop(parent.consumer)
    assert parent.turn(SOON) == 0
    parent.start()
    parent.turn(SOON)
    assert [info.ready for info in parent.known()] == [True]


def test_a_broker_that_takes_no_beats_is_told_again_in_the_next_round(hire: Hire) -> None:
    parent = hire(beat=0.5)
    parent.client.config_set("min-replicas-to-write", 1)
    with capture_logs() as logs:
        parent.start()
    parent.client.config_set("min-replicas-to-write", 0)
    assert {line["event"] for line in logs} == {"heartbeat failed"}
    assert all(line["error"] for line in logs)
    parent.turn(0.6)
    assert parent.known()


def test_a_full_disk_does_not_end_a_worker(hire: Hire, tmp_path: Path) -> None:
    parent = hire(alive=tmp_path / "no such folder" / "alive")
    parent.start()
    assert parent.known()


def test_jobs_of_a_model_that_is_gone_are_ended_by_workers_of_another(plant: Plant) -> None:
    plant.launch(SMOOTHCERT_UNSERVED=1)
    image = CertifiedImage.of(bytes(4), (1, 2, 2), [])
    job_id = plant.store.submit(Request("gone", Parameters(n=1000, sigma=0.5), image)).job_id
    job = plant.ended(job_id)
    assert (job.status, job.attempts) == ("failed", 0)
    assert job.error is not None
    assert "No worker has had the model gone for 1 s" in job.error.detail
    assert plant.ended(plant.submit(n=1000)).status == "succeeded"
