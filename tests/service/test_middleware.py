import asyncio
import threading

import pytest
import structlog
from fastapi.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from service.app import create_app
from service.errors import TooLarge
from service.middleware import BodyLimit
from service.settings import Settings
from tests.service.shelf import MODEL
from tests.service.worker import StandInWorker

MB = 1_000_000
LIMIT = 10 * MB


class Upload:
    """A body without end, a megabyte at a time. read: bytes that were asked for; answers: what came back."""

    def __init__(self, *headers: tuple[bytes, bytes]) -> None:
        self.scope = {"type": "http", "path": "/certify", "headers": list(headers)}
        self.read = 0
        self.answers: list[Message] = []

    async def receive(self) -> Message:
        self.read += MB
        return {"type": "http.request", "body": bytes(MB), "more_body": True}

    async def send(self, message: Message) -> None:
        self.answers.append(message)

    def to(self, limit: BodyLimit) -> None:
        asyncio.run(limit(self.scope, self.receive, self.send))


async def reads_all(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive())["more_body"]:
        pass


def test_a_length_over_the_limit_is_believed_and_nothing_read() -> None:
    upload = Upload((b"content-length", str(LIMIT + 1).encode()))
    upload.to(BodyLimit(reads_all, lambda _: LIMIT))
    assert (upload.answers[0]["status"], upload.read) == (413, 0)


@pytest.mark.parametrize("headers", [(), ((b"content-length", b"5"),), ((b"content-length", b"-1"),)])
def test_without_a_true_length_reading_ends_as_soon_as_it_is_too_much(
    headers: tuple[tuple[bytes, bytes], ...],
) -> None:
    upload = Upload(*headers)
    with pytest.raises(TooLarge):
        upload.to(BodyLimit(reads_all, lambda _: LIMIT))
    assert upload.read == LIMIT + MB


def test_each_path_has_its_own_limit() -> None:
    upload = Upload()
    with pytest.raises(TooLarge):
        upload.to(BodyLimit(reads_all, {"/certify": 2 * MB}.__getitem__))
    assert upload.read == 3 * MB


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
