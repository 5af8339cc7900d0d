"""Whatever goes wrong, the answer is a problem document that says what and how to mend it."""

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from service.app import create_app
from service.settings import Settings
from tests.service.shelf import MODEL, write_model

DATA = Path(__file__).parents[1] / "data"
Post = Callable[..., dict]


def is_problem(answer: Response, status: int) -> dict:
    problem = answer.json()
    assert answer.status_code == status == problem["status"], answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["title"]
    assert problem["detail"]
    assert problem["instance"] == answer.request.url.path
    return problem


def fields(problem: dict) -> dict[str, str]:
    return {error["field"]: error["detail"] for error in problem["errors"]}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/static/nothing.js", 404),
        ("GET", "/jobs/", 404),  # a redirect would name http:// to a caller who came through TLS
        ("GET", "/models/nobody", 404),
        ("GET", "/jobs/nobody", 404),
        ("DELETE", "/jobs", 405),
        ("GET", "/certify", 405),
        ("GET", "/jobs?cursor=x", 422),
        ("GET", "/jobs?limit=0", 422),
        ("GET", "/jobs?limit=x", 422),
        ("POST", "/certify", 400),
    ],
)
def test_every_error_is_a_problem(client: TestClient, method: str, path: str, status: int) -> None:
    is_problem(client.request(method, path), status)


def test_a_method_that_is_not_taken_is_answered_with_those_that_are(client: TestClient) -> None:
    for path, methods in (("/models", "GET, HEAD"), ("/jobs/nobody", "GET, HEAD"), ("/certify", "POST")):
        answer = client.delete(path)
        assert (answer.status_code, answer.headers["Allow"]) == (405, methods)


def test_a_deadline_of_a_fixed_number_of_votes_is_refused_in_plain_words(
    client: TestClient, digit: bytes
) -> None:
    answer = client.post("/certify", files={"image": digit}, data={"procedure": "certify", "deadline": 1})
    assert fields(is_problem(answer, 422))["deadline"].startswith("certify proves nothing before")


def test_a_text_file_is_415_with_the_accepted_formats(client: TestClient) -> None:
    text = (DATA / "not-an-image.txt").read_bytes()
    problem = is_problem(client.post("/certify", files={"image": text}), 415)
    assert "PNG" in problem["detail"]


def test_an_empty_file_is_415(client: TestClient) -> None:
    is_problem(client.post("/certify", files={"image": b""}), 415)


def test_a_declared_body_over_the_limit_is_413(client: TestClient) -> None:
    problem = is_problem(client.post("/certify", files={"image": bytes(30_000_000)}), 413)
    assert "25000000" in problem["detail"]


def test_a_body_of_undeclared_length_over_the_limit_is_413_too(client: TestClient) -> None:
    def long() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
        yield from [bytes(1_000_000)] * 30

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    is_problem(client.post("/certify", content=long(), headers=headers), 413)


def test_nine_votes_are_422_and_ten_named_as_the_least(client: TestClient, digit: bytes) -> None:
    answer = client.post("/certify", files={"image": digit}, data={"n": 9, "alpha": 0.001})
    problem = is_problem(answer, 422)
    assert "least n is 10" in fields(problem)["n"]
    assert client.post("/certify", files={"image": digit}, data={"n": 10}).status_code == 202


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("n", 0, "greater than or equal to 1"),
        ("n", 10**9, "less than or equal to 10000000"),
        ("n", "many", "integer"),
        ("n0", -1, "greater than or equal to 1"),
        ("alpha", 1, "less than 1"),
        ("alpha", "nan", "less than 1"),
        ("alpha", 1e-300, "greater than or equal to 0.000000000001"),
        ("procedure", "guess", "'anytime', 'certify' or 'predict'"),
        ("target_radius", -0.1, "greater than 0"),
        ("target_radius", "inf", "finite"),
        ("target_radius", 100, "prove at most "),
        ("tolerance", 2, "less than 1"),
        ("model", "nobody", MODEL),
        ("alfa", 0.01, "Extra inputs are not permitted"),
        ("model", "../../etc", MODEL),
    ],
)
def test_wrong_parameters_are_named_with_what_is_allowed(
    client: TestClient, digit: bytes, field: str, value: object, allowed: str
) -> None:
    answer = client.post("/certify", files={"image": digit}, data={field: value})
    assert allowed in fields(is_problem(answer, 422))[field]


def test_a_full_queue_is_503_with_a_time_to_come_back(settings: Settings, digit: bytes) -> None:
    small = settings.model_copy(update={"max_queued": 1})
    with TestClient(create_app(small)) as client:
        assert client.post("/certify", files={"image": digit}).status_code == 202
        answer = client.post("/certify", files={"image": digit})
        assert int(answer.headers["retry-after"]) >= 1
        is_problem(answer, 503)


def test_a_damaged_model_is_503_and_the_others_go_on(client: TestClient, models: Path, digit: bytes) -> None:
    write_model(models, "broken")
    (models / "broken" / "card.json").write_text("{}")
    is_problem(client.post("/certify", files={"image": digit}, data={"model": "broken"}), 503)
    is_problem(client.get("/models/broken"), 503)
    assert client.post("/certify", files={"image": digit}).status_code == 202


@pytest.fixture(params=["refused", "black hole"])
def dead_broker(request: pytest.FixtureRequest) -> Iterator[str]:
    """A port where nobody listens, or one where somebody does and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        if request.param == "black hole":
            listener.listen(64)
        yield f"redis://127.0.0.1:{port}/0"


def test_without_a_broker_answers_are_503_within_three_seconds(
    dead_broker: str, models: Path, digit: bytes
) -> None:
    with TestClient(create_app(Settings(redis_url=dead_broker, models=models))) as client:
        for call in (
            lambda: client.post("/certify", files={"image": digit}),
            lambda: client.get("/jobs/somebody", params={"wait": 30}),
            lambda: client.get("/health/ready"),
        ):
            start = time.monotonic()
            answer = call()
            assert time.monotonic() - start < 3
            assert int(answer.headers["retry-after"]) >= 1
            is_problem(answer, 503)
        assert client.get("/health/live").status_code == 200
        assert len(client.get("/models").json()) == 1
        assert "smoothcert_broker_up 0.0" in client.get("/metrics").text


def test_an_unexpected_error_is_a_problem_document_without_details(settings: Settings) -> None:
    app = create_app(settings)

    @app.get("/bug")
    def bug() -> None:
        raise RuntimeError("the password is swordfish")

    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.get("/bug")
    assert "swordfish" not in answer.text
    is_problem(answer, 500)
