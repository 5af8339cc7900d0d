"""Everything on one machine, what dies of it is started again, and nothing of it is left afterwards."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2 as httpx
import numpy as np
import pytest

from smoothcert.cli.processes import free_port, spawn
from smoothcert.cli.up import DIRECT, run_deployment
from smoothcert.errors import BrokerUnavailable, InternalError, InvalidRequest
from smoothcert.models.registry import BUNDLED, ModelRegistry
from smoothcert.votes import VoteRange
from tests.worker.conftest import write_model
from tests.worker.plant import ROOT, eventually
from tests.worker.stand_in import StandInVotes

LENET = "mnist-lenet-consistency-0.50"
DIGIT = ROOT / "tests/data/digit-7.png"
ENDED = ("succeeded", "failed", "cancelled")

UP = (
    "import sys, pathlib; from smoothcert.cli.up import run_deployment;"
    "run_deployment(int(sys.argv[1]), pathlib.Path(sys.argv[2]))"
)


def descendants(pid: int) -> dict[int, str]:
    """All processes below one, with their command lines."""
    found = {}
    for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        found[child] = Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ")
        found |= descendants(child)
    return found


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def ended(pid: int) -> bool:
    """Whether it has, be it that nobody has collected it yet."""
    status = Path(f"/proc/{pid}/status")
    return not status.exists() or "State:\tZ" in status.read_text()


@dataclass
class Running:
    """`up` in a process of its own, and all that it has started."""

    process: "subprocess.Popen[bytes]"
    url: str
    parts: dict[int, str]

    def part(self, name: str) -> int:
        return next(pid for pid, command in self.parts.items() if name in command)

    def all_gone(self) -> bool:
        return not any(map(alive, self.parts))

    def find(self, name: str) -> int | None:
        """The process of that name that runs now."""
        self.parts |= descendants(self.process.pid)
        return next((pid for pid, command in self.parts.items() if name in command and alive(pid)), None)

    def job(self, job_id: str, samples: int | None = None) -> dict:
        """The job, once it has that many samples, or else once it has ended."""

        def look() -> dict | None:
            with suppress(httpx.TransportError):
                answer = httpx.get(f"{self.url}/jobs/{job_id}", trust_env=False)
                job: dict = answer.json() if answer.status_code == 200 else {}
                if (job and samples and job["progress"]["samples"] >= samples) or job.get("status") in ENDED:
                    return job
            return None

        return eventually(look, patience=120)

    def further(self, job_id: str, by: int) -> None:
        """Returns when the job has so many samples more than now."""
        now = self.job(job_id, samples=1)["progress"]["samples"]
        assert self.job(job_id, samples=now + by)["status"] not in ENDED

    def stop(self) -> None:
        """As Ctrl-C does; nothing is left."""
        self.parts |= descendants(self.process.pid)
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(40) == 0
        assert self.all_gone()


def submit(running: Running, model: str, n: int) -> str:
    """Posts a digit; the job's id."""
    answer = httpx.post(
        f"{running.url}/certify",
        files={"image": DIGIT.read_bytes()},
        data={"model": model, "n": n},
        trust_env=False,
    )
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def start(folder: Path, port: int, settings: dict[str, str] | None = None) -> "subprocess.Popen[bytes]":
    """`up` as it is set; its state is kept below `folder`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SMOOTHCERT_")}
    command = [sys.executable, "-u", "-c", UP, str(port), str(folder / "state")]
    environment |= {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests/worker'}"} | (settings or stand_in(folder))
    return spawn(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def stand_in(folder: Path) -> dict[str, str]:
    """A model that loads at once."""
    write_model(folder / "stand-in")
    return {
        "SMOOTHCERT_MODELS": str(folder),
        "SMOOTHCERT_ENGINES": "stand_in:StandIns",
        "SMOOTHCERT_BEAT": "0.5",
    }


@contextmanager
def started(folder: Path, settings: dict[str, str] | None = None) -> Iterator[Running]:
    port = free_port()
    process = start(folder, port, settings)
    try:
        assert process.stdout is not None
        said = process.stdout.readline().decode()
        assert said.startswith(f"SmoothCert: http://127.0.0.1:{port}/"), said
        while (said := process.stdout.readline().decode()) != "Ready to certify.\n":
            assert said
        yield Running(process, f"http://127.0.0.1:{port}", descendants(process.pid))
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with started(tmp_path) as running:
        yield running


def test_ctrl_c_stops_everything(running: Running) -> None:
    with DIRECT.open(f"{running.url}/models") as answer:
        assert b"stand-in" in answer.read()
    assert len(running.parts) == 4, "broker, service, worker and its child"
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(30) == 0
    assert running.process.stdout is not None
    assert running.process.stdout.read() == b"Stopping.\n"
    assert running.all_gone()


@pytest.mark.parametrize("after", [0.0, 0.02, 0.2, 0.5])
def test_ctrl_c_while_it_starts_is_heard_too(tmp_path: Path, after: float) -> None:
    """Whatever is just being started, broker, service or worker; as a terminal sends it, to the group."""
    process = start(tmp_path, free_port())
    parts = eventually(lambda: descendants(process.pid) or None)
    time.sleep(after)
    parts |= descendants(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    said, complaints = process.communicate(timeout=30)
    assert (process.returncode, said, complaints) == (0, b"Stopping.\n", b"")
    eventually(lambda: not any(map(alive, parts)) or None, patience=5)


def test_nothing_survives_when_it_is_killed(running: Running) -> None:
    running.process.kill()
    eventually(lambda: running.all_gone() or None, patience=5)


# The service last: while it is away the worker goes on.
VICTIMS = {"worker": "celery", "broker": "-server", "service": "service"}


def test_a_killed_part_is_started_again_and_its_job_ends_with_the_counts_of_its_seed(
    running: Running, tmp_path: Path
) -> None:
    assert running.process.stdout is not None
    for name, process in VICTIMS.items():
        job_id = submit(running, "stand-in", n=200_000)
        running.job(job_id, samples=20_000)
        log = tmp_path / "state" / f"{name}.log"
        before = log.read_bytes()
        victim = running.find(process)
        assert victim is not None
        os.kill(victim, signal.SIGKILL)
        ended = running.job(job_id)
        said = running.process.stdout.readline().decode()
        assert said == f"The {name} was killed by signal 9; it starts again in 0.5 s (see {log}).\n"
        assert log.read_bytes().startswith(before), "what the dead one wrote is kept"
        certificate = ended["certificate"]
        votes = StandInVotes(np.zeros(4, np.uint8), int(certificate["seed"], 16))
        redrawn = votes.draw(VoteRange("estimation", 0, certificate["n"]))
        assert redrawn.tolist() == certificate["counts"]
    running.stop()


@pytest.mark.skipif(LENET not in ModelRegistry(BUNDLED).names(), reason=f"needs the bundled model {LENET}")
def test_worker_broker_and_service_killed_in_one_job_leave_its_votes_to_its_seed(tmp_path: Path) -> None:
    """The bundled network, and every vote drawn once more by `smoothcert verify --replay`."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / LENET).symlink_to(BUNDLED / LENET)
    settings = {
        "SMOOTHCERT_MODELS": str(tmp_path / "models"),
        "SMOOTHCERT_BEAT": "0.5",
        "SMOOTHCERT_SLICE": "0.5",
        "SMOOTHCERT_NICE": "0",  # other tests run beside it
        "SMOOTHCERT_TUNE": "false",
    }
    with started(tmp_path, settings) as running:
        job_id = submit(running, LENET, n=25_000)
        for victim in VICTIMS.values():
            running.further(job_id, by=1000)
            os.kill(running.part(victim), signal.SIGKILL)
        found = tmp_path / "certificate.json"
        found.write_text(json.dumps(running.job(job_id)["certificate"]))
        running.stop()
    command = [
        str(Path(sys.executable).with_name("smoothcert")),
        "verify",
        found,
        "--image",
        DIGIT,
        "--replay",
    ]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "every vote redrawn" in checked.stdout


def test_a_part_that_dies_five_times_in_a_minute_is_given_up(running: Running) -> None:
    for death in range(5):
        pid = eventually(lambda: running.find("service"))
        os.kill(pid, signal.SIGKILL)
        eventually(lambda pid=pid: not alive(pid) or None)  # type: ignore[misc]
        assert death == 4 or running.process.poll() is None
    said, complaints = running.process.communicate(timeout=30)
    assert running.process.returncode == 1
    assert [line.partition(";")[2].partition("(")[0].strip() for line in said.decode().splitlines()] == [
        f"it starts again in {pause} s" for pause in ("0.5", "1", "2", "4")
    ]
    assert b"the 5th time within 60 s" in complaints
    assert b"service.log" in complaints
    eventually(lambda: running.all_gone() or None, patience=5)


@pytest.mark.parametrize("name", ["SMOOTHCERT_SLICE", "SMOOTHCERT_MAX_QUEUED"])
def test_a_wrong_setting_ends_it_at_once_and_is_named(tmp_path: Path, name: str) -> None:
    process = start(tmp_path, free_port(), stand_in(tmp_path) | {name: "minus one"})
    said, complaints = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"starts again" not in said
    assert name.encode() in complaints.splitlines()[-1]


def test_a_taken_port_exits_with_2(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(InvalidRequest, match="taken"):
            run_deployment(other.getsockname()[1], tmp_path)


def test_a_configured_broker_that_is_away_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMOOTHCERT_REDIS_URL", "redis://127.0.0.1:1/0")
    with pytest.raises(BrokerUnavailable, match="SMOOTHCERT_REDIS_URL"):
        run_deployment(free_port(), tmp_path)


@pytest.mark.parametrize(
    ("host", "said"), [("192.0.2.1", "this machine has no such address"), ("no such host", "no such address")]
)
def test_an_address_of_another_machine_exits_with_2(tmp_path: Path, host: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        run_deployment(free_port(), tmp_path, host=host)


def test_without_keys_it_does_not_listen_to_other_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> None:
    monkeypatch.setenv("SMOOTHCERT_REDIS_URL", redis_url)
    with pytest.raises(
        InternalError, match=r"without API keys it listens on loopback only, not on 0\.0\.0\.0"
    ):
        run_deployment(free_port(), tmp_path, host="0.0.0.0")
