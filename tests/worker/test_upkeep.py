"""What a worker's parent does between deliveries."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from smoothcert.images.pixels import CertifiedImage
from smoothcert.jobs.delivery import TaskPublisher
from smoothcert.jobs.jobs import Request
from smoothcert.schemas.parameters import Parameters
from tests.worker.conftest import write_model
from tests.worker.inside import MODEL
from tests.worker.parent import Parent
from tests.worker.plant import Plant
from worker import readiness, upkeep
from worker.settings import Settings

BEAT = 2  # seconds
SOON = 0.15  # seconds: no beat, but several looks whether the child is ready

Hire = Callable[..., Parent]


@pytest.fixture
def hire(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hire]:
    """Makes the parent of a worker with such settings, whose child is ready."""
    write_model(tmp_path / MODEL)
    hired: list[Parent] = []

    def made(**chosen: object) -> Parent:
        terms = {"redis_url": redis_url, "models": tmp_path, "beat": BEAT, "alive": tmp_path / "alive"}
        monkeypatch.setattr(upkeep, "settings", lambda: Settings.model_validate({**terms, **chosen}))
        hired.append(Parent(redis_url))
        return hired[-1]

    readiness.say(True)
    yield made
    readiness.say(False)
    for parent in hired:
        parent.close()


def test_a_worker_says_who_it_is_what_it_has_and_how_long_it_may_be_silent(
    hire: Hire, tmp_path: Path
) -> None:
    parent = hire()
    parent.start()
    (said,) = parent.known()
    assert (said.host, said.models, said.ready) == (socket.gethostname(), [MODEL], True)
    assert said.started_at == upkeep.STARTED_AT
    assert said.silence == 5 * BEAT, "one beat that is late is no death"
    assert (tmp_path / "alive").read_text() == "ready\n"


def test_a_worker_says_so_again_at_each_beat(hire: Hire) -> None:
    parent = hire(beat=1)
    parent.start()
    parent.upkeep.shutdown(parent.consumer)
    assert not parent.known(), "it left: nobody waits for its silence"
    parent.turn(1.1)
    assert parent.known()


def test_a_child_that_loads_gets_no_jobs_until_it_is_ready_and_then_at_once(
    hire: Hire, tmp_path: Path
) -> None:
    readiness.say(False)
    parent = hire()
    parent.start()
    assert [info.ready for info in parent.known()] == [False]
    assert not parent.listens_to(MODEL)
    assert (tmp_path / "alive").read_text() == "loading\n"
    readiness.say(True)
    parent.turn(SOON)
    assert [info.ready for info in parent.known()] == [True]
    assert parent.listens_to(MODEL)
    assert (tmp_path / "alive").read_text() == "ready\n"


def test_between_beats_a_worker_with_nothing_to_say_is_silent(hire: Hire) -> None:
    parent = hire()
    parent.start()
    parent.client.delete(f"{parent.store.root}:workers")
    served = parent.turn(2 * SOON)
    assert not parent.known()
    assert served < 10, "its loop rests between two looks"


def test_jobs_of_a_model_that_came_later_are_taken_too(hire: Hire, tmp_path: Path) -> None:
    parent = hire(beat=1)
    parent.start()
    write_model(tmp_path / "later")
    parent.turn(1.1)
    assert (parent.listens_to("later"), parent.listens_to(MODEL)) == (True, True)
    assert parent.known()[0].models == ["later", MODEL]


def test_a_dead_child_is_noticed_within_a_second(hire: Hire) -> None:
    parent = hire()
    parent.start()
    parent.turn(0.7)
    assert 2 <= parent.checks <= 3


def test_a_job_whose_message_was_lost_is_sent_again_and_once(hire: Hire) -> None:
    parent = hire(grace=0.05, janitor=0.05)
    job_id = parent.submit(MODEL)
    with capture_logs() as logs:
        parent.start()
        parent.turn(3 * SOON)
    again = [(line["job"], line["model"]) for line in logs if line["event"] == "sent again"]
    assert again == [(job_id, MODEL)]
    assert parent.waiting(MODEL) == 1


def test_a_job_whose_message_waits_is_not_sent_again(hire: Hire, redis_url: str) -> None:
    parent = hire(grace=0.05, janitor=0.05)
    courier = TaskPublisher(redis_url)
    courier.send(parent.submit(MODEL), MODEL)
    parent.start()
    parent.turn(SOON)
    courier.close()
    assert parent.waiting(MODEL) == 1


def test_a_job_that_is_given_up_is_told_in_the_log(hire: Hire) -> None:
    parent = hire(unserved=0.05, janitor=0.05)
    job_id = parent.submit("gone")
    with capture_logs() as logs:
        parent.start()
        parent.turn(SOON)
    (line,) = (line for line in logs if line["event"].startswith("given up"))
    assert (line["job"], line["model"]) == (job_id, "gone")
    job = parent.store.job(job_id)
    assert job is not None
    assert job.status == "failed"


def test_without_its_connection_a_worker_does_nothing_and_after_it_the_same_as_before(hire: Hire) -> None:
    parent = hire()
    parent.start()
    parent.upkeep.stop(parent.consumer)
    assert parent.turn(SOON) == 0
    parent.start()
    parent.turn(SOON)
    assert [info.ready for info in parent.known()] == [True]


def test_a_broker_that_takes_no_beats_is_told_again_in_the_next_round(hire: Hire) -> None:
    parent = hire(beat=1)
    parent.client.config_set("min-replicas-to-write", 1)
    with capture_logs() as logs:
        parent.start()
    parent.client.config_set("min-replicas-to-write", 0)
    assert {line["event"] for line in logs} == {"upkeep failed"}
    assert all(line["error"] for line in logs)
    parent.turn(1.1)
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
