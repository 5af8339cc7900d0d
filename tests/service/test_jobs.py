"""A job from its submission to its end, as a caller sees it."""

import io
import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from service.jobs import POLL_LEAST, POLL_MOST, due_at, poll_intervals
from smoothcert.schemas.job import Job, Progress
from smoothcert.schemas.parameters import Parameters
from tests.service.shelf import MODEL
from tests.service.worker import StandInWorker

Post = Callable[..., dict]
Sent = Callable[[], list[str]]


def events(text: str) -> list[tuple[str, dict]]:
    """(id, job) of each event in a stream."""
    blocks = [b for b in text.split("\n\n") if b.startswith("event: job")]
    lines = [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]
    return [(line["id"], json.loads(line["data"])) for line in lines]


def test_certify_answers_202_with_the_place_of_a_queued_job(client: TestClient, digit: bytes) -> None:
    answer = client.post("/certify", files={"image": digit})
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/jobs/{job['id']}" == job["links"]["self"]
    assert int(answer.headers["retry-after"]) >= 1
    assert (job["status"], job["model"], job["parameters"]["sigma"]) == ("queued", MODEL, 0.5)
    assert job["parameters"]["n"] == 100_000
    assert job["queue_position"] == 0
    assert job["certificate"] is None
    assert client.get(job["links"]["self"]).json() == job


def test_certify_sends_the_job_to_the_queue_of_its_model(post: Post, sent: Sent) -> None:
    job = post()
    assert sent() == [job["id"]]


def test_the_certified_pixels_can_be_fetched(client: TestClient, post: Post, digit: bytes) -> None:
    answer = client.get(post()["links"]["input"])
    assert answer.headers["content-type"] == "image/png"
    fetched, sent = (np.asarray(Image.open(io.BytesIO(data))) for data in (answer.content, digit))
    assert np.array_equal(fetched, sent)


def test_progress_and_certificate_show_in_the_job(
    client: TestClient, post: Post, worker: StandInWorker
) -> None:
    here = post()["links"]["self"]
    task = worker.begin(here.removeprefix("/jobs/"))
    worker.report(task, 500, 0.75)
    running = client.get(here).json()
    assert (running["status"], running["progress"]["samples"], running["progress"]["radius"]) == (
        "running",
        500,
        0.75,
    )
    assert running["certificate"] is None, "a seed that is known could be used against the votes to come"
    worker.finish(task, 1.5)
    done = client.get(here).json()
    assert (done["status"], done["certificate"]["radius"]) == ("succeeded", 1.5)
    assert done["finished_at"].endswith("Z")


def test_wait_answers_as_soon_as_the_job_ends(client: TestClient, post: Post, worker: StandInWorker) -> None:
    here = post()["links"]["self"]
    task = worker.begin(here.removeprefix("/jobs/"))
    threading.Timer(0.3, worker.finish, [task]).start()
    start = time.monotonic()
    job = client.get(here, params={"wait": 20}).json()
    assert job["status"] == "succeeded"
    assert 0.2 < time.monotonic() - start < 5


def test_wait_answers_with_the_job_as_it_is_when_the_time_is_over(client: TestClient, post: Post) -> None:
    start = time.monotonic()
    assert client.get(post()["links"]["self"], params={"wait": 0.3}).json()["status"] == "queued"
    assert time.monotonic() - start >= 0.3


def test_the_event_stream_shows_every_step_and_ends_with_the_terminal_one(
    client: TestClient, post: Post, worker: StandInWorker
) -> None:
    job = post()
    task = worker.begin(job["id"])
    threading.Timer(0.3, worker.report, [task, 500, 0.75]).start()
    threading.Timer(0.9, worker.finish, [task]).start()
    answer = client.get(job["links"]["events"])
    assert answer.headers["content-type"].startswith("text/event-stream")
    seen = events(answer.text)
    assert [job["status"] for _, job in seen] == ["running", "running", "succeeded"]
    assert [job["progress"]["radius"] for _, job in seen] == [None, 0.75, 1.5]


def test_a_stream_resumed_by_last_event_id_does_not_repeat_what_was_seen(
    client: TestClient, post: Post, worker: StandInWorker
) -> None:
    job = post()
    task = worker.begin(job["id"])
    threading.Timer(0.4, worker.finish, [task]).start()
    version = version_of(worker, job["id"])
    seen = events(client.get(job["links"]["events"], headers={"Last-Event-ID": version}).text)
    assert [job["status"] for _, job in seen] == ["succeeded"]
    again = events(client.get(job["links"]["events"], headers={"Last-Event-ID": seen[-1][0]}).text)
    assert [job["status"] for _, job in again] == ["succeeded"], "whoever lost the end can ask for it again"


def version_of(worker: StandInWorker, job_id: str) -> str:
    return worker.client.hget(f"{worker.votes.scripts.root}:job:{job_id}", "version").decode()


def test_cancel_ends_a_job_and_keeps_the_best_certificate(
    client: TestClient, post: Post, worker: StandInWorker
) -> None:
    job = post()
    worker.report(worker.begin(job["id"]), 500, 0.75)
    cancelled = client.post(job["links"]["cancel"]).json()
    assert (cancelled["status"], cancelled["certificate"]["radius"]) == ("cancelled", 0.75)
    assert client.post(job["links"]["cancel"]).json() == cancelled
    assert client.get(job["links"]["certificate"]).json()["radius"] == 0.75


def test_the_certificate_is_a_file_once_there_is_one(
    client: TestClient, post: Post, worker: StandInWorker
) -> None:
    job = post()
    early = client.get(job["links"]["certificate"])
    assert (early.status_code, early.headers["retry-after"]) == (409, "1")
    worker.finish(worker.begin(job["id"]))
    answer = client.get(job["links"]["certificate"])
    assert answer.headers["content-disposition"] == f'attachment; filename="certificate-{job["id"]}.json"'
    assert answer.json() == client.get(job["links"]["self"]).json()["certificate"]


def test_a_job_cancelled_before_its_first_vote_has_no_certificate(client: TestClient, post: Post) -> None:
    job = post()
    client.post(job["links"]["cancel"])
    assert client.get(job["links"]["certificate"]).status_code == 404


def test_the_same_idempotency_key_and_form_is_the_same_job(
    client: TestClient, digit: bytes, sent: Sent
) -> None:
    def certify(n: int) -> "object":
        headers = {"Idempotency-Key": "a-key"}
        return client.post("/certify", files={"image": digit}, data={"n": n}, headers=headers)

    first, again, other = certify(1000), certify(1000), certify(2000)
    assert first.json()["id"] == again.json()["id"]
    assert (again.status_code, other.status_code) == (202, 422)
    assert other.json()["errors"][0]["field"] == "Idempotency-Key"
    assert len(sent()) == 1


def test_a_caller_that_prefers_to_wait_gets_the_ended_job(
    client: TestClient, digit: bytes, worker: StandInWorker, sent: Sent
) -> None:
    def certify(prefer: str) -> Any:
        return client.post("/certify", files={"image": digit}, headers={"Prefer": prefer})

    def work() -> None:
        while not (waiting := sent()):
            time.sleep(0.01)
        worker.finish(worker.begin(waiting[-1]))

    threading.Timer(0.1, work).start()
    ended = certify("respond-async, wait=30")
    assert (ended.status_code, ended.json()["status"]) == (200, "succeeded")
    assert ended.headers["preference-applied"] == "wait=30"
    assert ended.headers["location"] == ended.json()["links"]["self"]
    assert "retry-after" not in ended.headers
    for prefer, applied in (("wait=0", "wait=0"), ("wait=soon", None), ("handling=lenient", None)):
        queued = certify(prefer)
        assert (queued.status_code, queued.headers.get("preference-applied")) == (202, applied)
        assert "retry-after" in queued.headers


@pytest.mark.parametrize(
    "wish", [{"deadline": "0"}, {"deadline": "soon"}, {"procedure": "certify", "deadline": "1"}]
)
def test_a_deadline_that_makes_no_sense_is_refused(
    client: TestClient, digit: bytes, wish: dict[str, str]
) -> None:
    answer = client.post("/certify", files={"image": digit}, data=wish)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["deadline"]


def test_a_deadline_is_a_parameter_of_the_job(client: TestClient, digit: bytes) -> None:
    answer = client.post("/certify", files={"image": digit}, data={"deadline": "2.5"})
    assert answer.json()["parameters"]["deadline"] == 2.5


def test_jobs_are_listed_newest_first_page_by_page(client: TestClient, post: Post) -> None:
    made = [post()["id"] for _ in range(5)]
    listed, path = [], "/jobs?limit=2"
    while path:
        page = client.get(path).json()
        listed += [job["id"] for job in page["jobs"]]
        path = page["next"]
    assert listed == made[::-1]


@pytest.mark.parametrize("what", ["", "/events", "/certificate", "/input.png"])
def test_unknown_jobs_are_404_everywhere(client: TestClient, what: str) -> None:
    assert client.get(f"/jobs/nobody{what}").status_code == 404


def test_unknown_jobs_cannot_be_cancelled(client: TestClient) -> None:
    assert client.post("/jobs/nobody/cancel").status_code == 404


def test_a_certificate_says_how_often_the_service_was_asked_before(
    client: TestClient, post: Post, worker: StandInWorker
) -> None:
    """With other parameters and after a cancellation too; a repeated request is no second one."""
    answers = [post(), post(alpha=0.01)]
    client.post(answers[1]["links"]["cancel"])
    answers.append(post(n=2000))
    for job in (answers[2], answers[0]):
        worker.finish(worker.begin(job["id"]))
    counts = [client.get(job["links"]["self"]).json()["certificate"] for job in answers]
    assert [certificate and certificate["asked_before"] for certificate in counts] == [0, None, 2]


def running(samples: int = 25_000, seconds: float = 1.0, **changes: object) -> Job:
    """A job of 100 000 votes that has run for some seconds."""
    fields: dict[str, object] = {
        "status": "running",
        "started_at": datetime.now(UTC) - timedelta(seconds=seconds),
        "progress": Progress(samples=samples, of=100_000, radius=0.5, predicted_class=7, counts=[samples]),
        "parameters": Parameters(sigma=0.5, n=100_000),
    }
    return Job.model_construct(**(fields | changes))


def test_a_job_is_expected_to_end_at_the_pace_so_far() -> None:
    due = due_at(running())
    assert due is not None
    assert due - time.monotonic() == pytest.approx(3.0, abs=0.5)


@pytest.mark.parametrize(
    "job",
    [
        running(samples=0),
        running(status="queued"),
        running(started_at=None),
        running(parameters=Parameters(sigma=0.5, n=100_000, target_radius=0.5)),
        running(parameters=Parameters(sigma=0.5, n=100_000, tolerance=0.1)),
    ],
    ids=["no votes yet", "queued", "not started", "may stop at its target", "may stop at its tolerance"],
)
def test_there_is_no_estimate_of_the_end(job: Job) -> None:
    assert due_at(job) is None


def test_a_clock_that_is_behind_the_brokers_expects_the_end_at_once() -> None:
    due = due_at(running(seconds=-5))
    assert due is not None
    assert due <= time.monotonic()


def test_looks_crowd_around_the_expected_end_and_thin_out_before_and_after() -> None:
    def first(end: float) -> float:
        return next(poll_intervals(10, due=lambda: time.monotonic() + end))

    assert [first(end) for end in (3, -3)] == [POLL_MOST, POLL_MOST]
    assert first(0.1) == pytest.approx(0.05, abs=0.01)
    assert first(0) == POLL_LEAST
