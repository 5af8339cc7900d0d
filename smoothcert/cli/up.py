"""smoothcert up: service, worker and broker on this machine."""

from __future__ import annotations

import errno
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
from functools import partial
from http.client import HTTPException
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from smoothcert.cli.output import show
from smoothcert.errors import InternalError, InvalidRequest

if TYPE_CHECKING:
    from smoothcert.cli.processes import SupervisedProcess


def up(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the service listens.")] = 8000,
    host: Annotated[
        str, typer.Option(help="Its address; without API keys (`smoothcert keys`) a loopback one.")
    ] = "127.0.0.1",
) -> None:
    """Start service, worker and broker here.

    Ctrl-C stops them all.
    """
    run_deployment(port, say=show, host=host)


HOST = "127.0.0.1"
WORKER = ["-m", "celery", "-A", "worker.app", "worker", "--without-mingle", "--without-gossip"]
SERVICE = ["-m", "service"]
EVERYWHERE = {"0.0.0.0": HOST, "::": "::1"}  # noqa: S104  (all interfaces, and where to ask one of them)
BROKER_TIMEOUT = 3.0  # seconds for a configured broker to answer
PAGE_TIMEOUT = 60.0  # seconds
LONG = 15.0  # seconds of loading after which the reason is printed
STOP_TIMEOUT = 30.0  # seconds for a worker to finish its chunk
FAILED_TIMEOUT = 2.0  # seconds for the others when one has failed
POLL = 0.1  # seconds
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy for loopback


class Stopped(Exception):
    """Ctrl-C, or SIGTERM."""


def run_deployment(
    port: int = 8000,
    data: Path | None = None,
    say: Callable[[str], None] = print,
    host: str = HOST,
) -> None:
    """Run service, worker and broker until Ctrl-C or SIGTERM. Call it in the main thread.

    host: address of the service; without API keys only loopback addresses. say: prints the URL when the page
    is up, a line when the worker has loaded its model, and every restart. data: where the jobs of the local
    broker survive a restart, by default one folder per port in the user's state folder. The broker is that of
    SMOOTHCERT_REDIS_URL, if set. A process that dies is restarted and its jobs continue. Raises
    InvalidRequest: the port is taken; InternalError: a process dies during its start or too often, or the
    page does not appear.
    """
    _check_free(host, port)
    base = f"http://{_in_url(EVERYWHERE.get(host, host))}:{port}"
    folder = data or state_folder(port)
    folder.mkdir(parents=True, exist_ok=True)
    processes: list[SupervisedProcess] = []
    with _stop_signals(), suppress(Stopped), ExitStack() as stack:
        try:
            url = stack.enter_context(_broker(folder, processes))
            stack.enter_context(_stopping(processes))
            environment = os.environ | {"SMOOTHCERT_REDIS_URL": url}
            service = _start("service", [*SERVICE, "--host", host, "--port", str(port)], folder, environment)
            processes.append(service)
            name = f"up-{port}@{socket.gethostname()}"
            worker = _start("worker", [*WORKER, "-n", name], folder, environment)
            processes.append(worker)
            watch = partial(_watch, processes, say)
            _await_page(base, watch)
            service.proven = True
            say(f"SmoothCert: {base}/ (logs in {folder}; Ctrl-C stops it)")
            _await_ready(base, watch, say)
            worker.proven = True
            while True:
                watch()
        except Stopped:
            say("Stopping.")
            raise


def state_folder(port: int) -> Path:
    """The folder of jobs and logs for one port (XDG base directories)."""
    try:
        home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    except RuntimeError as error:  # no entry in the user database either
        raise InvalidRequest(
            "There is no home folder; set XDG_STATE_HOME to one for jobs and logs."
        ) from error
    return Path(home) / "smoothcert" / f"up-{port}"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _check_free(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except socket.gaierror as error:
            raise InvalidRequest(f"--host {host}: there is no such address: {error.strerror}.") from error
        except PermissionError as error:
            raise InvalidRequest(
                f"Port {port} is the administrator's on this machine; choose one from 1024 on with --port."
            ) from error
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise InvalidRequest(f"--host {host}: this machine has no such address.") from error
            raise InvalidRequest(f"Port {port} is taken; choose another with --port.") from error


@contextmanager
def _stop_signals() -> Iterator[None]:
    """Make Ctrl-C and SIGTERM raise Stopped once; later ones are ignored during the stop."""

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


def _start(name: str, arguments: list[str], folder: Path, environment: dict[str, str]) -> SupervisedProcess:
    """Start a Python process. Its log is emptied now; restarts append to it."""
    from smoothcert.cli.processes import SupervisedProcess, spawn

    log = folder / f"{name}.log"
    log.write_bytes(b"")

    def start() -> subprocess.Popen[bytes]:
        with log.open("ab") as out:
            return spawn(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=environment,
            )

    return SupervisedProcess(name, log, start, start())


def _await_page(base: str, watch: Callable[[], None]) -> None:
    deadline = time.monotonic() + PAGE_TIMEOUT
    while missing := _missing(base, "live"):
        if time.monotonic() > deadline:
            raise InternalError(f"No page after {PAGE_TIMEOUT:.0f} s: {missing}")
        watch()


def _await_ready(base: str, watch: Callable[[], None], say: Callable[[str], None]) -> None:
    """Wait without limit, as large models load for minutes; prints the reason once after LONG seconds."""
    start, reported = time.monotonic(), False
    while missing := _missing(base, "ready"):
        if not reported and time.monotonic() - start > LONG:
            say(missing)
            reported = True
        watch()
    say("Ready to certify.")


def _missing(base: str, what: str) -> str:
    """What /health/live or /health/ready still waits for; empty if nothing."""
    try:
        with DIRECT.open(f"{base}/health/{what}", timeout=5):
            return ""
    except urllib.error.HTTPError as error:
        with error:
            return str(json.load(error).get("detail", error))
    except (OSError, HTTPException, ValueError) as error:  # it may die while answering
        return f"the service does not answer ({error})."


def _watch(processes: list[SupervisedProcess], say: Callable[[str], None]) -> None:
    for process in processes:
        process.watch(say)
    time.sleep(POLL)


@contextmanager
def _broker(folder: Path, processes: list[SupervisedProcess]) -> Iterator[str]:
    """The URL of the configured broker, or of a local one, which is then supervised, too."""
    from smoothcert.cli.processes import Broker, SupervisedProcess, await_answer
    from smoothcert.jobs.broker import broker_url, need_no_eviction

    if url := os.environ.get("SMOOTHCERT_REDIS_URL"):
        password = os.environ.get("SMOOTHCERT_REDIS_PASSWORD_FILE")
        address = broker_url(url, Path(password) if password else None)
        await_answer(address, timeout=BROKER_TIMEOUT)
        need_no_eviction(address)
        yield url
        return
    with Broker.start(folder) as broker:
        processes.append(SupervisedProcess("broker", broker.log, broker.restart, broker.process, proven=True))
        yield broker.url


@contextmanager
def _stopping(processes: list[SupervisedProcess]) -> Iterator[None]:
    """At exit, stop all processes but the broker: SIGTERM, then SIGKILL."""
    from smoothcert.cli.processes import end, kill_group

    timeout = STOP_TIMEOUT
    try:
        yield
    except InternalError:
        timeout = FAILED_TIMEOUT
        raise
    finally:
        deadline = time.monotonic() + timeout
        children = [process.process for process in processes if process.name != "broker"]
        for child in children:
            child.terminate()
        for child in children:
            end(child, max(0.0, deadline - time.monotonic()))
            kill_group(child)
