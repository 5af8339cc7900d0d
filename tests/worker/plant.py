"""Real Celery workers on a real Valkey, voting with a stand-in of known probabilities."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis

from smoothcert.cli.processes import spawn
from smoothcert.images.pixels import CertifiedImage
from smoothcert.jobs.store import JobStore, Request
from smoothcert.jobs.tasks import Message, TaskPublisher
from smoothcert.schemas.job import Job
from smoothcert.schemas.parameters import Parameters

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
MODEL = "stand-in"
PATIENCE = 60.0  # seconds; a worker starts in about two where nothing else runs
_numbers = count()


def eventually(what: Callable[[], T | None], patience: float = PATIENCE) -> T:
    """What `what` answers, as soon as it is something."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if answer := what():
            return answer
        time.sleep(0.02)
    pytest.fail(f"it did not happen within {patience} s")


@dataclass
class Worker:
    """A worker's processes."""

    process: "subprocess.Popen[bytes]"
    log: Path
    device: str

    @property
    def child(self) -> int:
        """The process that computes."""
        (pid,) = self.children()
        return pid

    def children(self) -> list[int]:
        tasks = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in tasks.read_text().split()]

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        self.process.terminate()
        return self.process.wait(PATIENCE)


def at_work(
    client: redis.Redis, workers: list[Worker], job_id: str, *, helpers: bool = False
) -> list[Worker]:
    """Of these workers, those with a task of this job: the main one, or its helpers."""
    tasks: Any = client.hgetall(f"{{smoothcert}}:tasks:{job_id}")
    entries = [
        json.loads(entry)["worker"]
        for name, entry in tasks.items()
        if not name.startswith(b"missing:") and (b".helper-" in name) == helpers
    ]
    pids = {str(worker.process.pid): worker for worker in workers}
    return [pids[part] for entry in entries for part in entry.split("/")[0].split("-") if part in pids]


@dataclass
class Plant:
    """A broker, a registry with one model, and as many workers as a test starts."""

    url: str
    folder: Path
    client: redis.Redis
    workers: list[Worker] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = JobStore(self.client)
        self.publisher = TaskPublisher(self.url)

    def staff(self, *devices: str) -> None:
        """Starts workers until there is one for each device named, and waits until they take jobs."""
        self.workers = [worker for worker in self.workers if worker.process.poll() is None]
        missing = Counter(devices) - Counter(worker.device for worker in self.workers)
        for device in missing.elements():
            self.launch(STAND_IN_DEVICE=device)
        eventually(lambda: [info.ready for info in self.store.workers()] == [True] * len(devices))

    def holder(self, job_id: str) -> Worker:
        """The worker that is at work on the job now: its main task's."""
        return eventually(lambda: next(iter(self.at_work(job_id)), None))

    def at_work(self, job_id: str, *, helpers: bool = False) -> list[Worker]:
        """The workers with a task of this job: the main one, or its helpers."""
        return at_work(self.client, self.workers, job_id, helpers=helpers)

    def launch(self, *options: str, app: str = "worker.app", **environment: object) -> Worker:
        """A worker, be it alive or not. options: Celery's."""
        variables = {
            "SMOOTHCERT_REDIS_URL": self.url,
            "SMOOTHCERT_MODELS": self.folder,
            "SMOOTHCERT_ENGINES": "stand_in:StandIns",
            "SMOOTHCERT_SLICE": 0.5,
            "SMOOTHCERT_BEAT": 0.4,
            "SMOOTHCERT_NICE": 0,  # other tests run beside it
            "STAND_IN_DEVICE": "stand-in",
            "PYTHONPATH": f"{ROOT}:{ROOT / 'tests/worker'}",
            **environment,
        }
        log = self.folder / f"worker-{next(_numbers)}.log"
        command = [sys.executable, "-m", "celery", "-A", app, "worker", "-n", log.stem]
        command += ["--without-mingle", "--without-gossip", *options]
        with log.open("wb") as out:
            process = spawn(
                command,
                cwd=ROOT,
                stdout=out,
                stderr=out,
                env=os.environ | {k: str(v) for k, v in variables.items()},
            )
        worker = Worker(process, log, str(variables["STAND_IN_DEVICE"]))
        self.workers.append(worker)
        return worker

    def submit(self, n: int = 50_000, pixel: int = 0, send: bool = True, request_id: str = "") -> str:
        """A job; its message may be lost on the way."""
        image = CertifiedImage.of(bytes([pixel, 0, 0, 0]), (1, 2, 2), [])
        submission = self.store.submit(
            Request(MODEL, Parameters(n=n, sigma=0.5), image, request_id=request_id)
        )
        if send:
            self.send(submission.job_id)
        return submission.job_id

    def send(self, job_id: str) -> None:
        """The job's message, as its record names it."""
        queue, number = self.client.hmget(f"{self.store.root}:job:{job_id}", "queue", "chain")
        self.publisher.send(Message(job_id, queue.decode(), int(number)))

    def job(self, job_id: str) -> Job:
        job = self.store.job(job_id)
        assert job is not None
        return job

    def seed(self, job_id: str, seed: str) -> None:
        """Replaces the drawn seed, to compare two runs."""
        self.client.hset(f"{self.store.root}:job:{job_id}", "seed", seed)

    def ended(self, job_id: str) -> Job:
        """The job, once it has."""
        return eventually(lambda: job if (job := self.job(job_id)).ended else None)

    def running(self, job_id: str, samples: int = 1) -> Job:
        """The job, once it has that many samples."""
        return eventually(lambda: job if (job := self.job(job_id)).progress.samples >= samples else None)

    def close(self) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGCONT)
                worker.process.kill()
            worker.process.wait()
        self.publisher.close()
