"""Many images in one request: all become jobs, or none does."""

from collections.abc import Callable
from pathlib import Path

from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from smoothcert.jobs.broker import connect
from smoothcert.jobs.keys import queue_of
from tests.service.shelf import MODEL
from tests.service.worker import StandInWorker

DATA = Path(__file__).parents[1] / "data"


def images(*names: str) -> list[tuple[str, bytes]]:
    return [("image", (DATA / name).read_bytes()) for name in names]


def test_a_batch_counts_the_states_of_its_jobs(client: TestClient, worker: StandInWorker) -> None:
    answer = client.post(
        "/batches", files=images("digit-1.png", "digit-2.png", "digit-3.png"), data={"n": 1000}
    )
    batch = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (202, batch["links"]["self"])
    assert (batch["counts"], batch["ended"]) == ({"queued": 3}, False)
    first, second, third = (job["id"] for job in batch["jobs"])
    client.post(f"/jobs/{first}/cancel")
    worker.finish(worker.begin(second))
    later = client.get(batch["links"]["self"]).json()
    assert later["counts"] == {"queued": 1, "succeeded": 1, "cancelled": 1}
    assert [job["id"] for job in later["jobs"]] == [first, second, third]
    client.post(f"/jobs/{third}/cancel")
    assert client.get(batch["links"]["self"]).json()["ended"]


def test_equal_images_in_a_batch_and_alone_are_counted(client: TestClient, worker: StandInWorker) -> None:
    files = images("digit-1.png", "digit-1.png", "digit-2.png")
    headers = {"Idempotency-Key": "k"}
    batch = client.post("/batches", files=files, data={"n": 1000}, headers=headers).json()
    client.post("/batches", files=files, data={"n": 1000}, headers=headers)
    alone = client.post("/certify", files=images("digit-1.png"), data={"n": 500}).json()
    counts = [worker.begin(job["id"]).asked_before for job in [*batch["jobs"], alone]]
    assert counts == [0, 1, 0, 2]


def test_one_bad_image_refuses_the_batch_and_is_named(client: TestClient, redis_url: str) -> None:
    answer = client.post("/batches", files=images("digit-1.png", "not-an-image.txt"))
    assert answer.status_code == 415
    assert answer.json()["errors"][0]["field"] == "image[1]"
    assert connect(redis_url).llen(queue_of(MODEL)) == 0


def test_a_batch_that_does_not_fit_the_queue_leaves_nothing_in_it(settings: Settings) -> None:
    small = settings.model_copy(update={"max_queued": 2})
    with TestClient(create_app(small)) as client:
        files = images("digit-1.png", "digit-2.png", "digit-3.png")
        assert client.post("/batches", files=files).status_code == 503
        assert {job["status"] for job in client.get("/jobs").json()["jobs"]} == {"cancelled"}


def test_too_many_images_are_413_and_none_is_422(settings: Settings) -> None:
    with TestClient(create_app(settings.model_copy(update={"max_batch_images": 1}))) as client:
        assert client.post("/batches", files=images("digit-1.png", "digit-2.png")).status_code == 413
        assert client.post("/batches", files={"n": (None, "1000")}).status_code == 422


def test_unknown_batches_are_404(client: TestClient) -> None:
    assert client.get("/batches/nobody").status_code == 404


def test_the_same_key_and_form_answer_with_the_same_batch(
    client: TestClient, sent: Callable[[], list[str]]
) -> None:
    def send(*names: str, key: str = "k") -> object:
        return client.post("/batches", files=images(*names), headers={"Idempotency-Key": key})

    first = send("digit-1.png", "digit-2.png").json()
    again = send("digit-1.png", "digit-2.png").json()
    assert again == first
    assert len(sent()) == 2
    assert send("digit-2.png", "digit-1.png").status_code == 422
    assert send("digit-1.png", "digit-2.png", key="other").json()["id"] != first["id"]


def test_a_batch_that_was_interrupted_is_completed_by_the_same_request(
    client: TestClient, redis_url: str
) -> None:
    def send() -> dict:
        files = images("digit-1.png", "digit-2.png")
        return client.post("/batches", files=files, headers={"Idempotency-Key": "k"}).json()

    first = send()
    lost = first["jobs"][1]["id"]
    with connect(redis_url) as broker:  # as if the service had died between the two
        broker.delete(f"{{smoothcert}}:job:{lost}")
        assert len(client.get(first["links"]["self"]).json()["jobs"]) == 1
    assert [job["id"] for job in send()["jobs"]] == [job["id"] for job in first["jobs"]]


def test_the_key_of_a_refused_batch_may_be_used_again(settings: Settings) -> None:
    with TestClient(create_app(settings.model_copy(update={"max_queued": 1}))) as client:

        def send() -> int:
            files = images("digit-1.png", "digit-2.png")
            return client.post("/batches", files=files, headers={"Idempotency-Key": "k"}).status_code

        assert [send(), send()] == [503, 503]


def test_an_image_sent_alone_passes_those_of_a_batch(client: TestClient) -> None:
    batch = client.post("/batches", files=images("digit-1.png", "digit-2.png"), data={"n": 1000}).json()
    alone = client.post("/certify", files=images("digit-3.png"), data={"n": 1000}).json()
    later = client.get(batch["links"]["self"]).json()
    assert alone["queue_position"] == 0
    assert [job["queue_position"] for job in later["jobs"]] == [1, 2]
