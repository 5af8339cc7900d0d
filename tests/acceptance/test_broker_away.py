"""The broker goes away and comes back, under a real service and a real worker: nobody is started again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2 as httpx
import pytest
import redis

from smoothcert.cli.processes import Broker, await_answer, end, free_port, spawn
from tests.worker.conftest import MODEL, write_model
from tests.worker.plant import ROOT, Plant, eventually

DIGIT = (ROOT / "tests/data/digit-7.png").read_bytes()
CALLERS = 64
BOUND = 3.0  # seconds for any answer while the broker is away
START, BACK = 60.0, 30.0  # seconds until everything works, at first and again


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker.start(tmp_path / "broker") as broker:
        yield broker


@pytest.fixture
def plant(broker: Broker, tmp_path: Path) -> Iterator[Plant]:
    models = tmp_path / "models"
    models.mkdir()
    write_model(models / MODEL)
    with redis.Redis.from_url(broker.url) as client:
        plant = Plant(broker.url, models, client)
        plant.launch()
        yield plant
        plant.close()


@pytest.fixture
def site(plant: Plant) -> Iterator[httpx.Client]:
    port = free_port()
    settings = {"SMOOTHCERT_REDIS_URL": plant.url, "SMOOTHCERT_MODELS": str(plant.folder)}
    with (plant.folder / "service.log").open("wb") as log:
        process = spawn(
            [sys.executable, "-m", "service", "--port", str(port)],
            cwd=ROOT,
            env=os.environ | settings,
            stderr=log,
        )
    limits = httpx.Limits(max_connections=2 * CALLERS)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, limits=limits) as site:
        yield site
    process.terminate()
    end(process, 10)


def post(site: httpx.Client) -> httpx.Response:
    return site.post("/certify", files={"image": DIGIT}, data={"model": MODEL, "n": 1000})


def timed(ask: Callable[[], httpx.Response]) -> tuple[int, float]:
    """Status, and seconds it took."""
    start = time.monotonic()
    return ask().status_code, time.monotonic() - start


def is_ready(site: httpx.Client) -> bool:
    try:
        return site.get("/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def certifies(site: httpx.Client) -> bool:
    answer = post(site)
    if answer.status_code != 202:
        return False
    return site.get(answer.headers["location"], params={"wait": 10}).json()["status"] == "succeeded"


def stop(broker: Broker) -> None:
    broker.stop()


def start(broker: Broker) -> None:
    broker.process = spawn(list(broker.process.args), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # type: ignore[arg-type]
    await_answer(broker.url, 10, broker.process)


def freeze(broker: Broker) -> None:
    broker.process.send_signal(signal.SIGSTOP)


def thaw(broker: Broker) -> None:
    broker.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize(("leave", "come_back"), [(stop, start), (freeze, thaw)], ids=["stopped", "silent"])
def test_while_the_broker_is_away_answers_are_quick_and_afterwards_all_goes_on(
    broker: Broker,
    site: httpx.Client,
    leave: Callable[[Broker], None],
    come_back: Callable[[Broker], None],
) -> None:
    eventually(lambda: is_ready(site), START)
    eventually(lambda: certifies(site), START)
    leave(broker)
    try:
        with ThreadPoolExecutor(CALLERS) as callers:
            answers = list(callers.map(lambda _: timed(lambda: post(site)), range(CALLERS)))
        ready, live = timed(lambda: site.get("/health/ready")), timed(lambda: site.get("/health/live"))
    finally:
        come_back(broker)
    print(f"slowest of {CALLERS}: {max(seconds for _, seconds in answers):.2f} s, ready {ready}, live {live}")
    assert {status for status, _ in answers} == {503}
    assert (ready[0], live[0]) == (503, 200)
    assert max(seconds for _, seconds in [*answers, ready, live]) < BOUND
    eventually(lambda: is_ready(site), BACK)
    eventually(lambda: certifies(site), BACK)
