"""What a route doesn't know, or is told twice, is refused and named: it would be another question."""

import pytest
from fastapi.testclient import TestClient

from tests.service.shelf import MODEL


def wrong(problem: dict) -> dict[str, str]:
    return {error["field"]: error["detail"] for error in problem["errors"]}


@pytest.mark.parametrize(
    ("path", "there_are"),
    [
        ("/jobs", "cursor, limit"),
        ("/models", "none"),
        (f"/models/{MODEL}", "none"),
        ("/health/live", "none"),
        ("/health/ready", "none"),
        ("/metrics", "none"),
        ("/keys/signing", "none"),
        ("/batches/x", "none"),
        ("/jobs/x/events", "none"),
    ],
)
def test_an_unknown_query_parameter_is_422_with_the_known_ones(
    client: TestClient, path: str, there_are: str
) -> None:
    answer = client.get(path, params={"lmit": 1})
    assert answer.status_code == 422
    assert wrong(answer.json())["lmit"].endswith(f"there are: {there_are}.")


def test_the_same_holds_where_something_is_posted(client: TestClient, digit: bytes) -> None:
    job = client.post("/certify", files={"image": digit}).json()
    assert client.get(f"{job['links']['self']}?wiat=1").status_code == 422
    assert client.post(f"{job['links']['cancel']}?force=1").status_code == 422
    assert client.get(job["links"]["self"]).json()["status"] == "queued"
    assert client.post("/batches?n=1000", files={"image": digit}).status_code == 422


def test_a_parameter_or_a_header_that_is_there_twice_is_422(client: TestClient, digit: bytes) -> None:
    assert wrong(client.get("/jobs?limit=1&limit=2").json()).keys() == {"limit"}
    keys = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = client.post("/certify", files={"image": digit}, headers=keys)
    assert wrong(answer.json()).keys() == {"idempotency-key"}
    assert client.get("/jobs").json()["jobs"] == []


@pytest.mark.parametrize("path", ["/", "/static/page.css", "/docs", "/openapi.json", "/favicon.ico"])
def test_pages_and_files_take_whatever_a_link_has(client: TestClient, path: str) -> None:
    assert client.get(path, params={"utm_source": "mail"}).status_code == 200
