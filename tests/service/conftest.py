"""A service over a real Valkey."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from smoothcert.jobs.broker import connect
from smoothcert.jobs.keys import queue_of
from smoothcert.jobs.store import JobStore
from tests.service.shelf import MODEL, write_model
from tests.service.worker import StandInWorker

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
def worker(redis_url: str) -> StandInWorker:
    return StandInWorker(redis_url)


@pytest.fixture
def service_store(redis_url: str) -> JobStore:
    """The job record, as the service and its workers see it."""
    return JobStore(connect(redis_url))


@pytest.fixture
def digit() -> bytes:
    return (DATA / "digit-7.png").read_bytes()


@pytest.fixture
def sent(client: TestClient, redis_url: str) -> Callable[[], list[str]]:
    """Jobs whose message is in one of the model's queues, oldest first, once none is on its way."""

    def job_ids() -> list[str]:
        client.app_state["service"].sender.submit(int).result()
        broker, queues = connect(redis_url), (queue_of(MODEL), queue_of(MODEL, "batch"))
        messages = [json.loads(text) for queue in queues for text in reversed(broker.lrange(queue, 0, -1))]
        return [json.loads(base64.b64decode(message["body"]))[0][0] for message in messages]

    return job_ids


@pytest.fixture
def post(client: TestClient, digit: bytes) -> Callable[..., dict]:
    """Certifies digit 7 and answers with its job."""

    def certify(**fields: object) -> dict:
        answer = client.post("/certify", files={"image": digit}, data={"n": 1000} | fields)
        assert answer.status_code == 202, answer.text
        return answer.json()

    return certify
