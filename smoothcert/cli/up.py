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
    from smoothcert.cli.processes import Part


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
LONG = 15.0  # seconds of loading after which a person wants to know what is going on
STOP_TIMEOUT = 30.0  # seconds for a worker to finish its chunk and hand its job back
FAILED_TIMEOUT = 2.0  # seconds for the others when a part has died: they may wait for it in vain
POLL = 0.1  # seconds
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy knows nothing of our loopback


class Stopped(Exception):
    """Ctrl-C, or SIGTERM."""


def run_deployment(
    port: int = 8000,
    data: Path | None = None,
    say: Callable[[str], None] = print,
    host: str = HOST,
) -> None:
    """Runs until Ctrl-C or SIGTERM. Call it in the main thread.

    host: the address the service listens on; without API keys it takes loopback addresses only.

    `say` gets the URL as soon as the page is there, seconds before the worker has loaded its model (jobs wait
    for that), then a line when it has. The broker is the one of SMOOTHCERT_REDIS_URL, else one of our own,
    whose jobs survive a restart in `data` (by default one folder a port in the user's state folder).
    A part that dies is started again, which `say` is told; its jobs go on.
    Raises InvalidRequest when the port is taken, InternalError when a part dies before it has worked at all
    or too often in a short time, or when the page doesn't appear.
    """
    _check_free(host, port)
    base = f"http://{_in_url(EVERYWHERE.get(host, host))}:{port}"
    folder = data or state_folder(port)
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[Part] = []
    with _stop_signals(), suppress(Stopped), ExitStack() as stack:
        try:
            url = stack.enter_context(_broker(folder, parts))
            stack.enter_context(_stopping(parts))
            environment = os.environ | {"SMOOTHCERT_REDIS_URL": url}
            service = _start("service", [*SERVICE, "--host", host, "--port", str(port)], folder, environment)
            parts.append(service)
            name = f"up-{port}@{socket.gethostname()}"
            worker = _start("worker", [*WORKER, "-n", name], folder, environment)
            parts.append(worker)
            watch = partial(_watch, parts, say)
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
    """Where the jobs and logs of one port live (XDG base directories)."""
    try:
        home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    except RuntimeError as error:  # nor has this user an entry that names it
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


def _start(name: str, arguments: list[str], folder: Path, environment: dict[str, str]) -> Part:
    """A part in a Python of its own. Its log begins anew, and is continued when it is started again."""
    from smoothcert.cli.local_broker import spawn
    from smoothcert.cli.processes import Part

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

    return Part(name, log, start, start())


def _await_page(base: str, watch: Callable[[], None]) -> None:
    deadline = time.monotonic() + PAGE_TIMEOUT
    while missing := _missing(base, "live"):
        if time.monotonic() > deadline:
            raise InternalError(f"No page after {PAGE_TIMEOUT:.0f} s: {missing}")
        watch()


def _await_ready(base: str, watch: Callable[[], None], say: Callable[[str], None]) -> None:
    """As long as it takes: a large model loads for minutes. Says so once when it takes long."""
    start, told = time.monotonic(), False
    while missing := _missing(base, "ready"):
        if not told and time.monotonic() - start > LONG:
            say(missing)
            told = True
        watch()
    say("Ready to certify.")


def _missing(base: str, what: str) -> str:
    """What /health/live or /health/ready still lacks; nothing when it is content."""
    try:
        with DIRECT.open(f"{base}/health/{what}", timeout=5):
            return ""
    except urllib.error.HTTPError as error:
        with error:
            return str(json.load(error).get("detail", error))
    except (OSError, HTTPException, ValueError) as error:  # also when it dies in the middle of its answer
        return f"the service does not answer ({error})."


def _watch(parts: list[Part], say: Callable[[str], None]) -> None:
    for part in parts:
        part.watch(say)
    time.sleep(POLL)


@contextmanager
def _broker(folder: Path, parts: list[Part]) -> Iterator[str]:
    """The URL of the configured broker, or of our own, which is then watched like any part."""
    from smoothcert.cli.local_broker import Broker, await_answer
    from smoothcert.cli.processes import Part
    from smoothcert.jobs.broker import broker_url, need_no_eviction

    if url := os.environ.get("SMOOTHCERT_REDIS_URL"):
        password = os.environ.get("SMOOTHCERT_REDIS_PASSWORD_FILE")
        address = broker_url(url, Path(password) if password else None)
        await_answer(address, timeout=BROKER_TIMEOUT)
        need_no_eviction(address)
        yield url
        return
    with Broker.start(folder) as broker:
        parts.append(Part("broker", broker.log, broker.restart, broker.process, proven=True))
        yield broker.url


@contextmanager
def _stopping(parts: list[Part]) -> Iterator[None]:
    """Ends all parts but the broker: SIGTERM, then SIGKILL to what is left of them."""
    from smoothcert.cli.local_broker import end
    from smoothcert.cli.processes import kill_group

    timeout = STOP_TIMEOUT
    try:
        yield
    except InternalError:
        timeout = FAILED_TIMEOUT
        raise
    finally:
        deadline = time.monotonic() + timeout
        processes = [part.process for part in parts if part.name != "broker"]
        for process in processes:
            process.terminate()
        for process in processes:
            end(process, max(0.0, deadline - time.monotonic()))
            kill_group(process)
