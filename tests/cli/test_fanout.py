"""`smoothcert evaluate --workers` with real workers on a real Valkey: the same rows as without."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from smoothcert.cli.fanout import FanOut, Workers
from smoothcert.cli.processes import Broker
from smoothcert.cli.settings import settings
from smoothcert.jobs.broker import connect
from smoothcert.jobs.store import JobStore
from smoothcert.jobs.tasks import TaskPublisher
from smoothcert.jobs.workers import WorkerStatus, WorkerStore
from smoothcert.models.registry import read_card
from smoothcert.schemas.evaluation_log import Row, read_log
from smoothcert.schemas.evaluation_run import EvaluationRun
from smoothcert.schemas.parameters import Parameters
from tests.cli.conftest import DATA, MODEL, ROOT, SETUP, Command, settings_of
from tests.cli.test_service import running
from tests.conftest import fresh_database
from training.datasets.image_set import ImageSet

ASKED = ("evaluate", MODEL, "--dataset", "mnist", "--data-root", DATA / "mnist-tiny", "--seed", "5")
PATIENCE = 120.0  # seconds
OTHER_SETUP = "cpu:eager/1-threads:float32:64"
WORKER = ("celery", "-A", "worker.app", "worker", "--without-mingle", "--without-gossip")


@pytest.fixture(scope="module")
def broker_url(valkey: Broker, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker with one worker, whose own choice of set-up is another one than the tests'."""
    url = fresh_database(valkey)
    environment = settings_of(models) | {
        "SMOOTHCERT_REDIS_URL": url,
        "SMOOTHCERT_SETUP": OTHER_SETUP,
        "OMP_NUM_THREADS": "1",
    }
    with (
        running(tmp_path_factory.mktemp("worker") / "log", *WORKER, **environment),
        connect(url) as client,
    ):
        store, deadline = JobStore(client), time.monotonic() + PATIENCE
        while not store.workers():
            assert time.monotonic() < deadline, "the worker did not come up"
            time.sleep(0.05)
        yield url


def rows(log: Path) -> list[Row]:
    return [replace(row, seconds=0.0) for row in read_log(log).rows]


def test_rows_by_workers_equal_the_rows_of_this_process(
    inside: Command, monkeypatch: pytest.MonkeyPatch, broker_url: str, tmp_path: Path
) -> None:
    monkeypatch.setenv("SMOOTHCERT_REDIS_URL", broker_url)
    asked = (*ASKED, "--every", "2", "--limit", "8", "--n", "400", "--setup", SETUP)
    assert inside(*asked, "--out", tmp_path / "here.tsv").returncode == 0
    done = inside(*asked, "--out", tmp_path / "there.tsv", "--workers")
    assert done.returncode == 0, done.stderr
    assert rows(tmp_path / "there.tsv") == rows(tmp_path / "here.tsv")
    assert [row.idx for row in rows(tmp_path / "there.tsv")] == list(range(0, 16, 2))
    assert (tmp_path / "there.tsv.run.json").read_bytes() == (tmp_path / "here.tsv.run.json").read_bytes()


def test_a_killed_evaluation_by_workers_goes_on_and_asks_for_no_image_twice(
    inside: Command, models: Path, monkeypatch: pytest.MonkeyPatch, broker_url: str, tmp_path: Path
) -> None:
    asked = (*ASKED, "--limit", "10", "--n", "4000", "--setup", SETUP)
    log = tmp_path / "there.tsv"
    environment = os.environ | settings_of(models) | {"SMOOTHCERT_REDIS_URL": broker_url}
    command = [Path(sys.executable).with_name("smoothcert"), *map(str, asked), "--out", log, "--workers"]
    process = subprocess.Popen(command, env=environment, cwd=ROOT)
    deadline = time.monotonic() + PATIENCE
    while not log.exists() or log.read_text().count("\n") < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert log.read_text().count("\n") < 11

    monkeypatch.setenv("SMOOTHCERT_REDIS_URL", broker_url)
    with connect(broker_url) as client:
        before = len(list(client.scan_iter("{smoothcert}:job:*")))
        written = log.read_text().count("\n") - 1
        done = inside(*asked, "--out", log, "--workers", "--resume")
        assert done.returncode == 0, done.stderr
        after = len(list(client.scan_iter("{smoothcert}:job:*")))
    assert after - before <= 10 - written - 1  # at least one job was found again
    assert inside(*asked, "--out", tmp_path / "here.tsv").returncode == 0
    assert rows(log) == rows(tmp_path / "here.tsv")


def test_a_job_left_by_an_earlier_evaluation_answers_for_the_same_pixels_only(
    models: Path, redis_url: str
) -> None:
    card = read_card(models / MODEL)
    asked = Parameters(sigma=card.sigma, n=100, procedure="certify")
    run = EvaluationRun(
        model=MODEL,
        weights_sha256=card.weights_sha256,
        dataset="folder:mine",
        split="test",
        split_images=2,
        every=1,
        seed=5,
        setup=SETUP,
        **asked.model_dump(),
    )
    pixels = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)

    def job_of_first(images_u8: torch.Tensor) -> str:
        images = ImageSet(
            "folder:mine", "test", images_u8, torch.zeros(2, dtype=torch.int64), ("a", "b"), "", (1, 28, 28)
        )
        with connect(redis_url) as client:
            workers = Workers(JobStore(client), TaskPublisher(redis_url), card)
            return FanOut(workers, images, run)._send(0)

    assert job_of_first(pixels) == job_of_first(pixels)
    assert job_of_first(pixels) != job_of_first(pixels + 1), "the folder has other images now"


def test_without_a_set_up_the_workers_choose_it(
    inside: Command, monkeypatch: pytest.MonkeyPatch, broker_url: str, tmp_path: Path
) -> None:
    monkeypatch.setenv("SMOOTHCERT_REDIS_URL", broker_url)
    done = inside(*ASKED, "--limit", "2", "--n", "100", "--out", tmp_path / "a.tsv", "--workers")
    assert done.returncode == 0, done.stderr
    assert OTHER_SETUP in (tmp_path / "a.tsv.run.json").read_text()


def test_what_is_missing_is_said_before_anything_is_asked(
    inside: Command, monkeypatch: pytest.MonkeyPatch, redis_url: str, tmp_path: Path
) -> None:
    monkeypatch.delenv("SMOOTHCERT_REDIS_URL", raising=False)
    asked = (*ASKED, "--out", tmp_path / "a.tsv", "--workers")
    assert "set SMOOTHCERT_REDIS_URL" in inside(*asked).stderr
    monkeypatch.setenv("SMOOTHCERT_REDIS_URL", redis_url)
    settings.cache_clear()
    refused = inside(*asked)
    assert refused.returncode == 2
    assert f"No living worker has {MODEL}" in refused.stderr


def test_a_worker_that_still_loads_the_model_is_waited_for(models: Path, redis_url: str) -> None:
    status = WorkerStatus(
        id="w", host="h", models=[], loading=[MODEL], started_at=datetime.now(UTC), ready=False
    )
    with connect(redis_url) as client:
        WorkerStore(client).beat(status, 60)
    assert Workers.of(redis_url, read_card(models / MODEL)).count() == 1
