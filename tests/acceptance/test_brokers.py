"""Brokers reached another way, that drop jobs, or whose address is none: service, worker and command."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from smoothcert.cli.processes import Broker, free_port
from smoothcert.cli.up import run_deployment
from smoothcert.errors import BrokerUnavailable, InvalidRequest
from smoothcert.jobs.broker import broker_url, connect
from tests.worker.conftest import write_model
from tests.worker.plant import MODEL, ROOT, Plant, eventually

WORKER = ("celery", "-A", "worker.app", "worker", "--without-mingle", "--without-gossip")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Broker]:
    folder = tmp_path / "broker"
    folder.mkdir()
    with Broker.start(folder, "--unixsocket", str(folder / "b.sock"), "--appendfsync", "no") as broker:
        yield broker


@pytest.fixture
def evicting(own: Broker) -> Broker:
    with connect(own.url) as client:
        client.config_set("maxmemory-policy", "volatile-lru")
        client.config_set("maxmemory", "100mb")
    return own


@pytest.mark.parametrize("written", ["unix://{}?db=1", "redis+socket://{}?virtual_host=1"])
def test_service_and_worker_work_through_a_socket(own: Broker, tmp_path: Path, written: str) -> None:
    write_model(tmp_path / MODEL)
    address = written.format(tmp_path / "broker" / "b.sock")
    url = broker_url(address, None)
    with connect(url) as client:
        plant = Plant(url, tmp_path, client)
        try:
            plant.launch(SMOOTHCERT_REDIS_URL=address)
            with TestClient(create_app(Settings(redis_url=address, models=tmp_path))) as service:
                assert plant.ended(plant.submit(n=2000)).status == "succeeded"
                eventually(lambda: service.get("/health/ready").status_code == 200 or None)
        finally:
            plant.close()


def test_a_broker_that_drops_jobs_keeps_the_service_from_being_ready_and_the_log_says_so(
    evicting: Broker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / MODEL)
    with connect(evicting.url) as client:
        plant = Plant(evicting.url, tmp_path, client)
        try:
            worker = plant.launch()
            with TestClient(create_app(Settings(redis_url=evicting.url, models=tmp_path))) as service:
                eventually(lambda: plant.store.workers() or None)
                told = service.get("/health/ready")
                assert told.status_code == 503
                assert "volatile-lru" in told.json()["detail"]
                client.config_set("maxmemory-policy", "noeviction")
                eventually(lambda: service.get("/health/ready").status_code == 200 or None)
            assert "volatile-lru" in worker.log.read_text()
        finally:
            plant.close()
    assert "volatile-lru" in capsys.readouterr().out


def test_up_does_not_start_on_a_broker_that_drops_jobs(
    evicting: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMOOTHCERT_REDIS_URL", evicting.url)
    with pytest.raises(BrokerUnavailable, match="volatile-lru"):
        run_deployment(free_port(), tmp_path)
    monkeypatch.setenv("SMOOTHCERT_REDIS_URL", "sentinel://a:1/main")
    with pytest.raises(InvalidRequest, match="sentinel"):
        run_deployment(free_port(), tmp_path)


@pytest.mark.parametrize("command", [("service", "--port", "0"), WORKER])
@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("REDIS_URL", "sentinel://:swordfish@a:1/main", "REDIS_URL: The broker's address begins with"),
        ("REDIS_URL", "redis://:sword/fish@a:1", "REDIS_URL: The broker's address can't be read"),
        ("REDIS_URL", "redis://a:1?timeout=5", "no parameter 'timeout'"),
        ("REDIS_PASSWORD_FILE", "/no/such/file", "/no/such/file"),
        ("RECORD_TTL", "soon", "SMOOTHCERT_RECORD_TTL: Input should be a valid integer"),
    ],
)  # fmt: skip
def test_what_the_environment_says_wrong_ends_service_and_worker_in_one_line(
    command: tuple[str, ...], variable: str, value: str, complaint: str
) -> None:
    environment = os.environ | {f"SMOOTHCERT_{variable}": value}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "fish" not in done.stderr
