"""A deployment on this machine: a real Valkey, the real service, real workers, and what restarts them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2 as httpx
import redis

from smoothcert.cli.processes import await_answer, free_port, server_binary, spawn
from smoothcert.jobs.broker import connect
from smoothcert.jobs.store import JobStore
from smoothcert.models.registry import BUNDLED
from tests.faults.clock import Clock
from tests.worker.conftest import write_model
from tests.worker.plant import MODEL as STAND_IN
from tests.worker.plant import ROOT, Worker, at_work

LENET = "mnist-lenet-consistency-0.50"
START_TIMEOUT = 60.0  # seconds until everything is ready
ENGINES = {STAND_IN: "tests.faults.sampled:SampledStandIns", LENET: "worker.engines:Engines"}


@dataclass(frozen=True)
class Plan:
    """What stands there. speed: votes a second of the stand-in. environment: for service and workers, beyond
    what is deployed by default. clocks: whether the broker's and the workers' clocks can be stepped.
    """

    model: str = STAND_IN
    workers: int = 2
    speed: int = 40_000
    clocks: bool = False
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class Site:
    """Processes by role. Whoever kills one decides whether and when it is started again."""

    folder: Path
    plan: Plan
    url: str = ""
    workers: list[Worker] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.url = f"redis://127.0.0.1:{free_port()}/0"
        self.base_url = f"http://127.0.0.1:{free_port()}"
        self.models, self.book = self.folder / "models", self.folder / "book"
        self.models.mkdir(parents=True)
        self.clocks = {
            name: Clock.make(self.folder, name) for name in ("broker", "workers") if self.plan.clocks
        }
        self.write_model()
        self.client: redis.Redis = connect(self.url)
        self.store = JobStore(self.client)
        self._launched = 0

    def write_model(self) -> None:
        """Puts the model in its place, whole."""
        if self.plan.model == STAND_IN:
            write_model(self.models / STAND_IN)
        else:
            shutil.copytree(BUNDLED / self.plan.model, self.models / self.plan.model, dirs_exist_ok=True)

    def start(self) -> None:
        """Everything, until the service says that it is ready."""
        self.start_broker()
        self.start_service()
        for _ in range(self.plan.workers):
            self.start_worker()
        self.await_ready()

    def start_broker(self) -> None:
        """As deployed (docker-compose.yml): append-only file, written out every second, nothing evicted."""
        port = self.url.rpartition(":")[2].removesuffix("/0")
        command = [str(server_binary()), "--port", port, "--bind", "127.0.0.1", "--dir", str(self.folder)]
        command += ["--save", "", "--appendonly", "yes", "--maxmemory-policy", "noeviction"]
        self.broker = self._spawn("broker", command, self._clock("broker"))
        await_answer(self.url, START_TIMEOUT, self.broker)

    def start_service(self, module: str = "service") -> None:
        """The HTTP face, or another module that serves it; returns once it answers or has died."""
        port = self.base_url.rpartition(":")[2]
        self.service = self._spawn("service", [sys.executable, "-m", module, "--port", port], {})
        self._await(lambda: self.service.poll() is not None or self._status("/health/live") == 200)

    def start_worker(self) -> Worker:
        """One more worker, be it ready or not."""
        self._launched += 1
        name = f"worker-{self._launched}"
        command = [sys.executable, "-m", "celery", "-A", "worker.app", "worker", "-n", name]
        command += ["--without-mingle", "--without-gossip"]
        process = self._spawn(name, command, self._clock("workers"))
        worker = Worker(process, self.folder / f"{name}.log", self.plan.model)
        self.workers.append(worker)
        return worker

    def await_ready(self) -> None:
        """Until the broker answers and every model has a worker, and as many workers live as are planned."""
        self._await(lambda: self._status("/health/ready") == 200)
        self._await(lambda: len(self.store.workers()) >= len(self.alive()))

    def restaff(self) -> None:
        """Starts as many workers as have died."""
        self.workers = self.alive()
        while len(self.workers) < self.plan.workers:
            self.start_worker()

    def alive(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.process.poll() is None]

    def holder(self, job_id: str) -> Worker | None:
        """The worker that is at work on the job now."""
        return next(iter(at_work(self.client, self.workers, job_id)), None)

    def kill_broker(self, with_signal: signal.Signals = signal.SIGKILL) -> None:
        self.broker.send_signal(with_signal)
        self.broker.wait()

    def close(self) -> None:
        """Ends everything, frozen or not."""
        for process in [worker.process for worker in self.workers] + [self.service, self.broker]:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()
        self.client.close()

    def _clock(self, name: str) -> dict[str, str]:
        return self.clocks[name].environment if name in self.clocks else {}

    def _spawn(self, name: str, command: list[str], environment: dict[str, str]) -> "subprocess.Popen[bytes]":
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("SMOOTHCERT_")}
        settings = {
            "SMOOTHCERT_REDIS_URL": self.url,
            "SMOOTHCERT_MODELS": str(self.models),
            "SMOOTHCERT_DEFAULT_MODEL": self.plan.model,
            "SMOOTHCERT_ENGINES": "tests.faults.witness:Witness",
            "SMOOTHCERT_TUNE": "false",
            "WITNESS_ENGINES": ENGINES[self.plan.model],
            "WITNESS_BOOK": str(self.book),
            "STAND_IN_SPEED": str(self.plan.speed),
            "PYTHONPATH": str(ROOT),
        }
        with (self.folder / f"{name}.log").open("ab") as log:
            everything = inherited | settings | self.plan.environment | environment
            return spawn(command, cwd=ROOT, stdout=log, stderr=log, env=everything)

    def _status(self, path: str) -> int | None:
        with suppress(httpx.TransportError):
            return httpx.get(self.base_url + path, trust_env=False, timeout=5).status_code
        return None

    def _await(self, what: object) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not what():  # type: ignore[operator]
            assert time.monotonic() < deadline, f"not ready; see the logs in {self.folder}"
            time.sleep(0.05)


@contextmanager
def standing(folder: Path, plan: Plan) -> Iterator[Site]:
    """A site that is ready; nothing of it is left afterwards."""
    site = Site(folder, plan)
    try:
        site.start()
        yield site
    finally:
        site.close()
