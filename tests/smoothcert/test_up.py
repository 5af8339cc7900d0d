"""Everything on one machine, and nothing left of it afterwards."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from certification.errors import BrokerUnavailable, UserMistake
from smoothcert.broker import free_port, spawn
from smoothcert.up import DIRECT, up
from tests.worker.conftest import write_model
from tests.worker.plant import ROOT, eventually

UP = "import sys, pathlib, smoothcert.up as it; it.up(int(sys.argv[1]), pathlib.Path(sys.argv[2]))"


def descendants(pid: int) -> dict[int, str]:
    """All processes below one, with their command lines."""
    found = {}
    for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        found[child] = Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ")
        found |= descendants(child)
    return found


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


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


def start(folder: Path, port: int) -> "subprocess.Popen[bytes]":
    """`up` with a model that loads at once; its state is kept below `folder`."""
    write_model(folder / "stand-in")
    environment = os.environ | {
        "SMOOTHCERT_MODELS": str(folder),
        "SMOOTHCERT_ENGINES": "stand_in:StandIns",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests/worker'}",
    }
    environment.pop("SMOOTHCERT_REDIS_URL", None)
    command = [sys.executable, "-u", "-c", UP, str(port), str(folder / "state")]
    return spawn(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    port = free_port()
    process = start(tmp_path, port)
    assert process.stdout is not None
    said = process.stdout.readline().decode()
    assert said.startswith(f"SmoothCert: http://127.0.0.1:{port}/"), said
    assert process.stdout.readline() == b"Ready to certify.\n"
    yield Running(process, f"http://127.0.0.1:{port}", descendants(process.pid))
    process.kill()
    process.communicate()


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


def test_it_ends_with_an_error_when_a_part_dies(running: Running) -> None:
    os.kill(running.part("-server"), signal.SIGKILL)
    assert running.process.wait(30) == 1
    eventually(lambda: running.all_gone() or None, patience=5)


def test_a_taken_port_is_the_users_mistake(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(UserMistake, match="taken"):
            up(other.getsockname()[1], tmp_path)


def test_a_configured_broker_that_is_away_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMOOTHCERT_REDIS_URL", "redis://127.0.0.1:1/0")
    with pytest.raises(BrokerUnavailable, match="SMOOTHCERT_REDIS_URL"):
        up(free_port(), tmp_path)
