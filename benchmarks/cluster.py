"""Real workers, broker and job record here, with an engine of fixed speed in place of a network."""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import TypeVar

import numpy as np
import redis
from numpy.typing import NDArray

from smoothcert.cli.processes import Broker, spawn
from smoothcert.images.pixels import CertifiedImage
from smoothcert.jobs.broker import connect
from smoothcert.jobs.store import JobStore, Lane, Request
from smoothcert.jobs.tasks import TaskPublisher
from smoothcert.models.registry import CARD_FILE, WEIGHTS_FILE
from smoothcert.schemas.card import ModelCard, Preprocessing
from smoothcert.schemas.certificate import EngineDescription
from smoothcert.schemas.job import Job
from smoothcert.schemas.parameters import Parameters
from smoothcert.testing import KnownVotes
from smoothcert.votes import Counts, VoteRange

T = TypeVar("T")
HERE = Path(__file__).resolve().parent
MODEL = "stand-in"
BATCH = 512
SPEED = float(os.environ.get("STAND_IN_SPEED", "20000"))  # votes per second
IMAGE = CertifiedImage.of(bytes(4), (1, 2, 2), [])


class TimedVotes(KnownVotes):
    """Votes of known probabilities at SPEED: the process sleeps instead of computing."""

    at_once = BATCH

    def count(self, votes: VoteRange, until: int = 0) -> Counts:
        time.sleep(votes.votes / SPEED)
        return super().count(votes)


class TimedEngine:
    num_classes = 3
    description = EngineDescription(device="stand-in", backend="stand-in", precision="none", batch=BATCH)

    def sampler(self, image_CHW: NDArray[np.uint8], sigma: float, seed: int) -> TimedVotes:
        return TimedVotes([0.9, 0.06, 0.04], seed % 2**64)


class TimedEngines:
    """What SMOOTHCERT_ENGINES names in the workers."""

    def __init__(self, settings: object) -> None:
        pass

    def platform(self) -> str:
        return "stand-in"

    def check(self, folder: Path, card: ModelCard) -> None:
        pass

    def build(self, folder: Path, card: ModelCard, requested: object) -> TimedEngine:
        return TimedEngine()


def eventually(what: Callable[[], T | None], patience: float) -> T:
    """What `what` answers, as soon as it is true."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if answer := what():
            return answer
        time.sleep(0.02)
    raise TimeoutError(f"it did not happen within {patience} s")


@dataclass
class Cluster:
    """A broker, and as many workers as were asked for, under the settings that are deployed."""

    url: str
    folder: Path
    client: redis.Redis
    workers: list["Popen[bytes]"] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = JobStore(self.client)
        self.publisher = TaskPublisher(self.url)

    def staff(self, workers: int, patience: float) -> None:
        """Starts those that are missing, and waits until each takes jobs."""
        while len(self.workers) < workers:
            self._launch()
        eventually(
            lambda: sum(MODEL in worker.models for worker in self.store.workers()) == workers, patience
        )

    def submit(
        self, n: int, *, lane: Lane = "single", seed: str | None = None, send: bool = True
    ) -> tuple[str, Callable[[], None]]:
        """A job's id, and what sends its message."""
        request = Request(MODEL, Parameters(n=n, sigma=0.5), IMAGE, seed=seed, lane=lane)
        submission = self.store.submit(request)
        message = submission.message
        assert message is not None
        if send:
            self.publisher.send(message)
        return submission.job_id, lambda: self.publisher.send(message)

    def job(self, job_id: str) -> Job:
        job = self.store.job(job_id)
        assert job is not None
        return job

    def close(self) -> None:
        for process in self.workers:
            process.kill()
            process.wait()
        self.publisher.close()

    def _launch(self) -> None:
        name = f"worker-{len(self.workers)}"
        settings = {
            "SMOOTHCERT_REDIS_URL": self.url,
            "SMOOTHCERT_MODELS": self.folder,
            "SMOOTHCERT_ENGINES": "cluster:TimedEngines",
            "PYTHONPATH": f"{HERE.parent}:{HERE}",
            "OMP_NUM_THREADS": 1,
        }
        command = [sys.executable, "-m", "celery", "-A", "worker.app", "worker", "-n", name]
        command += ["--without-mingle", "--without-gossip"]
        with (self.folder / f"{name}.log").open("wb") as log:
            environment = os.environ | {key: str(value) for key, value in settings.items()}
            self.workers.append(spawn(command, cwd=HERE.parent, stdout=log, stderr=log, env=environment))


@contextmanager
def cluster() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_model(folder / MODEL)
        with Broker.start(folder / "broker") as broker, connect(broker.url) as client:
            built = Cluster(broker.url, folder, client)
            try:
                yield built
            finally:
                built.close()


def _write_model(folder: Path) -> None:
    """A checkpoint that only looks like one."""
    folder.mkdir()
    card = ModelCard(
        name=folder.name,
        architecture="lenet",  # one that is known; its weights are never read
        dataset="none",
        input_shape=(1, 2, 2),
        labels=["a", "b", "c"],
        preprocessing=Preprocessing(mode="L", mean=(0.0,), std=(1.0,)),
        sigma=0.5,
        method="none",
        weights_sha256="0" * 64,
        data_license="none",
    )
    (folder / CARD_FILE).write_text(card.model_dump_json())
    (folder / WEIGHTS_FILE).write_bytes(b"")
