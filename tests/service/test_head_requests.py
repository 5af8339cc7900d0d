"""HEAD is answered wherever GET is, with the headers GET would have."""

import threading

import pytest
from fastapi.testclient import TestClient

from tests.service.shelf import MODEL

PATHS = [
    "/",
    "/docs",
    "/openapi.json",
    "/favicon.ico",
    "/static/page.css",
    "/health/live",
    "/health/ready",
    "/metrics",
    "/models",
    f"/models/{MODEL}",
    "/models/nobody",
    "/jobs",
    "/jobs/nobody",
    "/batches/nobody",
    "/keys/signing",
    "/nowhere",
    "/jobs?limit=0",
]


@pytest.mark.parametrize("path", PATHS)
def test_head_answers_as_get_does_without_the_body(client: TestClient, path: str) -> None:
    get, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    if path != "/metrics":
        assert head.headers["content-length"] == get.headers["content-length"]


def test_heads_of_a_job_are_answered_and_a_streams_ends_at_once(client: TestClient, digit: bytes) -> None:
    links = client.post("/certify", files={"image": digit}).json()["links"]
    for name in ("self", "input"):
        assert client.head(links[name]).status_code == 200
    assert client.head(links["certificate"]).status_code == 409
    answers = []
    asks = threading.Thread(target=lambda: answers.append(client.head(links["events"])))
    asks.start()
    asks.join(20)
    assert answers[0].headers["content-type"].startswith("text/event-stream")
    assert client.app_state["service"].concurrency.taken == 0


def test_what_only_posts_has_no_head(client: TestClient) -> None:
    for path in ("/certify", "/batches"):
        assert client.head(path).status_code == 405


def test_heads_are_counted_by_route(client: TestClient) -> None:
    client.head("/jobs/one")
    text = client.get("/metrics").text
    assert 'smoothcert_http_requests_total{method="HEAD",route="/jobs/{job_id}",status="404"} 1.0' in text
