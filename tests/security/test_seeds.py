"""Who knew the noise could choose the image against it: no seed is seen before the answer is out."""

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import structlog
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.worker.conftest import plant
from tests.worker.plant import MODEL, Plant, eventually

__all__ = ["plant"]

LONG = 3_000_000  # votes: half a minute of the stand-in


@pytest.fixture
def client(plant: Plant) -> Iterator[TestClient]:
    """A service before the plant's workers."""
    with TestClient(create_app(Settings(redis_url=plant.url, models=plant.folder))) as client:
        yield client


def seed_of(plant: Plant, job_id: str) -> str:
    return plant.client.hget(f"{{smoothcert}}:job:{job_id}", "seed").decode()


def test_a_seed_is_nowhere_to_be_seen_until_its_job_has_ended(
    plant: Plant, client: TestClient, digit: bytes
) -> None:
    beat = plant.folder / "beat"
    worker = plant.launch(SMOOTHCERT_LOG_LEVEL="DEBUG", SMOOTHCERT_ALIVE=beat)
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        asked = {"n": LONG, "model": MODEL}
        job = client.post("/certify", files={"image": digit}, data=asked).json()
        batch = client.post("/batches", files=[("image", digit)], data=asked).json()
        eventually(lambda: plant.job(job["id"]).progress.samples or None, 60)
        here = job["links"]
        seen = [json.dumps(job), json.dumps(batch), worker.log.read_text(), str(lines)]
        seen += [
            client.get(path).text for path in (here["self"], "/jobs", batch["links"]["self"], "/metrics")
        ]
        seen += [client.get(here["certificate"]).text, client.get(here["self"], params={"wait": 0.3}).text]
        queues = [key for key in plant.client.keys("certify*") if plant.client.type(key) == b"list"]
        seen += [str(plant.client.lrange(key, 0, -1)) for key in queues]
    seed = seed_of(plant, job["id"])
    assert len(seed) == 32
    for secret in (seed, str(int(seed, 16)), seed_of(plant, batch["jobs"][0]["id"])):
        assert not [text for text in seen if secret in text.lower()]
    ended = client.post(here["cancel"]).json()
    assert ended["certificate"]["seed"] == seed, "then everybody may redraw the votes"
    assert time.time() - beat.stat().st_mtime < 60


def test_no_seed_is_in_an_event_before_the_last_one(client: TestClient, plant: Plant, digit: bytes) -> None:
    job = client.post("/certify", files={"image": digit}, data={"n": 1000}).json()
    seed = seed_of(plant, job["id"])
    client.post(job["links"]["cancel"])
    assert seed not in client.get(job["links"]["events"]).text, "not even then, as it never had a vote"


def test_asking_again_draws_another_seed_and_repeating_does_not(
    client: TestClient, plant: Plant, digit: bytes
) -> None:
    """So each answer has its own alpha, and a redelivered or repeated request can't redraw one."""

    def ask(**headers: str) -> str:
        answer = client.post("/certify", files={"image": digit}, data={"n": 1000}, headers=headers)
        return seed_of(plant, answer.json()["id"])

    key = {"Idempotency-Key": "k"}
    assert ask(**key) == ask(**key)
    assert len({ask(), ask(), ask(**key)}) == 3


def test_another_image_under_the_same_key_gets_no_known_seed(client: TestClient, digit: bytes) -> None:
    key = {"Idempotency-Key": "k"}
    assert client.post("/certify", files={"image": digit}, headers=key).status_code == 202
    other = (Path(__file__).parents[1] / "data" / "digit-4.png").read_bytes()
    assert client.post("/certify", files={"image": other}, headers=key).status_code == 422


def test_seeds_come_from_the_operating_system(client: TestClient, plant: Plant, digit: bytes) -> None:
    """Not from generators whose next output can be told from the ones before."""

    def draw() -> str:
        random.seed(0)
        np.random.seed(0)
        answer = client.post("/certify", files={"image": digit}, data={"n": 1000})
        return seed_of(plant, answer.json()["id"])

    assert len({draw() for _ in range(3)}) == 3
