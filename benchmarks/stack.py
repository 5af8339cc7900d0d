"""Service, worker and broker as `smoothcert up` starts them, and what each of them holds."""

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PARTS = {"service": b"service", "worker": b"celery", "broker": b"valkey-server"}  # what a command line shows
ESTABLISHED = "01"  # a state in /proc/net/tcp
START_TIMEOUT = 120.0  # seconds


@dataclass(frozen=True)
class Holding:
    """Of one part at one moment. resident: MB. connections: established TCP ones. cpu: seconds so far."""

    resident: float
    connections: int
    cpu: float


@dataclass(frozen=True)
class Stack:
    """A running `smoothcert up`."""

    url: str
    process: "subprocess.Popen[bytes]"

    def holdings(self) -> dict[str, Holding]:
        """By part; the worker is its parent process and its child together."""
        return {part: self._holding(pids) for part, pids in self._parts().items()}

    def _parts(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {part: [] for part in PARTS}
        for pid in descendants(self.process.pid):
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            for part, mark in PARTS.items():
                if mark in command or (part == "broker" and b"redis-server" in command):
                    found[part].append(pid)
                    break
        return found

    @staticmethod
    def _holding(pids: list[int]) -> Holding:
        return Holding(
            resident=sum(resident(pid) for pid in pids),
            connections=sum(connections(pid) for pid in pids),
            cpu=sum(cpu_seconds(pid) for pid in pids),
        )


def descendants(pid: int) -> list[int]:
    """The children of a process, theirs, and so on."""
    children: list[int] = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        children += map(int, tasks.read_text().split())
    return [one for child in children for one in (child, *descendants(child))]


def resident(pid: int) -> float:
    """MB in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1000


def cpu_seconds(pid: int) -> float:
    """Of the processor, in user and system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def connections(pid: int) -> int:
    """Established TCP connections that the process has open."""
    sockets = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            sockets.add(str(descriptor.readlink()))
        except OSError:
            continue  # closed meanwhile
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return sum(row[3] == ESTABLISHED and f"socket:[{row[9]}]" in sockets for row in rows)


def await_ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    """Returns when a worker can certify. Raises RuntimeError when that will not be."""
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("`smoothcert up` did not become ready")


@contextmanager
def stack(port: int, **settings: object) -> Iterator[Stack]:
    """Ready to certify. settings: without their prefix, as max_queued=100_000."""
    command = [str(Path(sys.executable).with_name("smoothcert")), "up", "--port", str(port)]
    with tempfile.TemporaryDirectory() as home:
        variables = {f"SMOOTHCERT_{name.upper()}": str(value) for name, value in settings.items()}
        variables |= {"XDG_STATE_HOME": home, "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(command, env=os.environ | variables, stdout=subprocess.DEVNULL)
        try:
            await_ready(f"http://127.0.0.1:{port}/health/ready", process)
            yield Stack(f"http://127.0.0.1:{port}", process)
        finally:
            process.terminate()
            process.wait(60)
