"""Service, worker and broker on this machine, as children of this process; none outlives it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from certification.contract.store.broker import broker_url, need_no_eviction
from certification.errors import Failure, UserMistake
from smoothcert.broker import LOG as BROKER_LOG
from smoothcert.broker import Broker, await_answer, end, spawn

HOST = "127.0.0.1"
WORKER = ["-m", "celery", "-A", "worker.app", "worker", "--without-mingle", "--without-gossip"]
SERVICE = ["-m", "service", "--host", HOST]
BROKER_TIMEOUT = 3.0  # seconds for a configured broker to answer
PAGE_TIMEOUT = 60.0  # seconds
LONG = 15.0  # seconds of loading after which a person wants to know what is going on
STOP_TIMEOUT = 30.0  # seconds for a worker to finish its chunk and hand its job back
FAILED_TIMEOUT = 2.0  # seconds for the others when a part has died: they may wait for it in vain
POLL = 0.1  # seconds
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy knows nothing of our loopback
LOG_TAIL = 5  # lines shown of the log of a child that died


@dataclass(frozen=True)
class Child:
    """One of our processes, and where it writes."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    @classmethod
    def start(cls, name: str, arguments: list[str], folder: Path, environment: dict[str, str]) -> "Child":
        log = folder / f"{name}.log"
        with log.open("wb") as out:
            process = spawn(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=environment,
            )
        return cls(name, process, log)

    def check(self) -> None:
        """Raises Failure, with the end of its log, when it has died."""
        if self.process.poll() is not None:
            tail = " | ".join(self.log.read_text(errors="replace").splitlines()[-LOG_TAIL:])
            raise Failure(f"The {self.name} ended by itself; see {self.log}: {tail}")


class Stopped(Exception):  # noqa: N818
    """Ctrl-C, or SIGTERM."""


def up(port: int = 8000, data: Path | None = None, say: Callable[[str], None] = print) -> None:
    """Runs until Ctrl-C or SIGTERM. Call it in the main thread.

    `say` gets the URL as soon as the page is there, seconds before the worker has loaded its model (jobs wait
    for that), then a line when it has. The broker is the one of SMOOTHCERT_REDIS_URL, else one of our own,
    whose jobs survive a restart in `data` (by default one folder a port in the user's state folder).
    Raises UserMistake when the port is taken, Failure when a part dies or the page doesn't appear.
    """
    _check_free(port)
    folder = data or state_folder(port)
    folder.mkdir(parents=True, exist_ok=True)
    children: list[Child] = []
    with _stop_signals(), suppress(Stopped), ExitStack() as stack:
        try:
            url = stack.enter_context(_broker(folder, children))
            stack.enter_context(_stopping(children))
            environment = os.environ | {"SMOOTHCERT_REDIS_URL": url}
            children.append(Child.start("service", [*SERVICE, "--port", str(port)], folder, environment))
            name = f"up-{port}@{socket.gethostname()}"
            children.append(Child.start("worker", [*WORKER, "-n", name], folder, environment))
            _await_page(port, children)
            say(f"SmoothCert: http://{HOST}:{port}/ (logs in {folder}; Ctrl-C stops it)")
            _await_ready(port, children, say)
            while True:
                _watch(children)
        except Stopped:
            say("Stopping.")
            raise


def state_folder(port: int) -> Path:
    """Where the jobs and logs of one port live (XDG base directories)."""
    try:
        home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    except RuntimeError as error:  # nor has this user an entry that names it
        raise UserMistake("There is no home folder; set XDG_STATE_HOME to one for jobs and logs.") from error
    return Path(home) / "smoothcert" / f"up-{port}"


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except PermissionError as error:
            raise UserMistake(
                f"Port {port} is the administrator's on this machine; choose one from 1024 on with --port."
            ) from error
        except OSError as error:
            raise UserMistake(f"Port {port} is taken; choose another with --port.") from error


@contextmanager
def _stop_signals() -> Iterator[None]:
    """Ctrl-C and SIGTERM raise Stopped, once: stopping is not interrupted by a second one."""

    def stop(number: int, frame: FrameType | None) -> None:
        for signum in before:
            signal.signal(signum, signal.SIG_IGN)
        raise Stopped

    before = {signum: signal.signal(signum, stop) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _await_page(port: int, children: list[Child]) -> None:
    deadline = time.monotonic() + PAGE_TIMEOUT
    while missing := _missing(port, "live"):
        if time.monotonic() > deadline:
            raise Failure(f"No page after {PAGE_TIMEOUT:.0f} s: {missing}")
        _watch(children)


def _await_ready(port: int, children: list[Child], say: Callable[[str], None]) -> None:
    """As long as it takes: a large model loads for minutes. Says so once when it takes long."""
    start, told = time.monotonic(), False
    while missing := _missing(port, "ready"):
        if not told and time.monotonic() - start > LONG:
            say(missing)
            told = True
        _watch(children)
    say("Ready to certify.")


def _missing(port: int, what: str) -> str:
    """What /health/live or /health/ready still lacks; nothing when it is content."""
    try:
        with DIRECT.open(f"http://{HOST}:{port}/health/{what}", timeout=5):
            return ""
    except urllib.error.HTTPError as error:
        with error:
            return str(json.load(error).get("detail", error))
    except OSError as error:
        return f"the service does not answer ({error})."


def _watch(children: list[Child]) -> None:
    for child in children:
        child.check()
    time.sleep(POLL)


@contextmanager
def _broker(folder: Path, children: list[Child]) -> Iterator[str]:
    """The URL of the configured broker, or of our own, which is then watched like any child."""
    if url := os.environ.get("SMOOTHCERT_REDIS_URL"):
        password = os.environ.get("SMOOTHCERT_REDIS_PASSWORD_FILE")
        address = broker_url(url, Path(password) if password else None)
        await_answer(address, timeout=BROKER_TIMEOUT)
        need_no_eviction(address)
        yield url
        return
    with Broker.start(folder) as broker:
        children.append(Child("broker", broker.process, folder / BROKER_LOG))
        yield broker.url


@contextmanager
def _stopping(children: list[Child]) -> Iterator[None]:
    """Ends all children but the broker: SIGTERM, then SIGKILL to those that don't heed it."""
    timeout = STOP_TIMEOUT
    try:
        yield
    except Failure:
        timeout = FAILED_TIMEOUT
        raise
    finally:
        deadline = time.monotonic() + timeout
        parts = [child.process for child in children if child.name != "broker"]
        for process in parts:
            process.terminate()
        for process in parts:
            end(process, max(0.0, deadline - time.monotonic()))
