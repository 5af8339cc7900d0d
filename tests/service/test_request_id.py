"""Request ids, from the caller to the record and the log."""

import pytest
import structlog
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.service.worker import StandInWorker


def test_a_request_id_is_answered_logged_and_goes_to_the_worker(
    client: TestClient, worker: StandInWorker, digit: bytes
) -> None:
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        answer = client.post("/certify", files={"image": digit}, headers={"X-Request-ID": "shop-4711"})
    assert answer.headers["x-request-id"] == "shop-4711"
    job_id = answer.json()["id"]
    assert [(line["event"], line["request"]) for line in lines] == [
        ("submitted", "shop-4711"),
        ("answered", "shop-4711"),
    ]
    assert lines[0]["job"] == job_id
    assert worker.begin(job_id).request_id == "shop-4711"


@pytest.mark.parametrize("sent", ["", "two words", "x" * 129, "é"])
def test_what_is_no_request_id_is_replaced(client: TestClient, sent: str) -> None:
    told = client.get("/health/live", headers={"X-Request-ID": sent.encode()}).headers["x-request-id"]
    assert len(told) == 24
    assert client.get("/nowhere").headers["x-request-id"] != told


def test_an_unforeseen_error_tells_the_id_its_log_line_has(settings: Settings) -> None:
    app = create_app(settings)

    @app.get("/bug")
    def bug() -> None:
        raise RuntimeError

    with TestClient(app, raise_server_exceptions=False) as client:
        assert client.get("/bug", headers={"X-Request-ID": "r-1"}).headers["x-request-id"] == "r-1"
