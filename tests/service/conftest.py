"""A service over a real Valkey."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from smoothcert.jobs.broker import connect
from smoothcert.jobs.delivery import queue_of
from smoothcert.jobs.jobs import JobStore
from tests.service.hand import WorkerHand
from tests.service.shelf import MODEL, write_model

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    root = tmp_path / "models"
    write_model(root, MODEL)
    return root


@pytest.fixture
def settings(redis_url: str, models: Path) -> Settings:
    return Settings(redis_url=redis_url, models=models)


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings)) as client:
        yield client


@pytest.fixture
def hand(redis_url: str) -> WorkerHand:
    return WorkerHand(redis_url)


@pytest.fixture
def service_store(redis_url: str) -> JobStore:
    """The job record, as the service and its workers see it."""
    return JobStore(connect(redis_url))


@pytest.fixture
def digit() -> bytes:
    return (DATA / "digit-7.png").read_bytes()


@pytest.fixture
def sent(client: TestClient, redis_url: str) -> Callable[[], list[dict]]:
    """The messages in the model's queue, oldest first, once none is on its way."""

    def messages() -> list[dict]:
        client.app_state["service"].sender.submit(int).result()
        return [json.loads(said) for said in reversed(connect(redis_url).lrange(queue_of(MODEL), 0, -1))]

    return messages


@pytest.fixture
def post(client: TestClient, digit: bytes) -> Callable[..., dict]:
    """Certifies digit 7 and answers with its job."""

    def certify(**fields: object) -> dict:
        answer = client.post("/certify", files={"image": digit}, data={"n": 1000} | fields)
        assert answer.status_code == 202, answer.text
        return answer.json()

    return certify
