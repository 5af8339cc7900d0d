"""`smoothcert certify --url` against the real service with a real worker."""

import csv
import json
import os
import pty
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from smoothcert.cli.processes import free_port, spawn
from smoothcert.schemas.certificate import Certificate
from tests.cli.conftest import DATA, MODEL, ROOT, SETUP, Command

PATIENCE = 120.0  # seconds; a worker that shares its cores loads torch and a model for long


@contextmanager
def running(log: Path, *command: str, **environment: object) -> Iterator[None]:
    variables = {name: str(value) for name, value in environment.items()}
    with log.open("wb") as out:
        process = spawn(
            [sys.executable, "-m", *command], cwd=ROOT, stdout=out, stderr=out, env=os.environ | variables
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
def url(redis_url: str, models: Path, tmp_path: Path) -> Iterator[str]:
    """A service with one worker, ready to certify."""
    port = free_port()
    environment = {
        "SMOOTHCERT_REDIS_URL": redis_url,
        "SMOOTHCERT_MODELS": models,
        "SMOOTHCERT_DEFAULT_MODEL": MODEL,
    }
    worker = ("celery", "-A", "worker.app", "worker", "--without-mingle", "--without-gossip")
    with (
        running(tmp_path / "service.log", "service", "--port", str(port), **environment),
        running(tmp_path / "worker.log", *worker, **environment, SMOOTHCERT_SETUP=SETUP),
    ):
        address = f"http://127.0.0.1:{port}"
        wait_until_ready(address)
        yield address


def wait_until_ready(address: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{address}/health/ready") as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    pytest.fail("the service did not become ready")


def test_certify_by_a_service_gives_the_same_kind_of_answer(
    smoothcert: Command, inside: Command, url: str, tmp_path: Path
) -> None:
    # Of anytime's looks an early one may prove the largest radius, and its n is then the certificate's.
    there = ("--procedure", "certify", "--url", url)
    done = smoothcert("certify", DATA / "digit-3.png", "--n", "3000", "--alpha", "0.01", *there, "--json")
    assert done.returncode == 0, done.stderr
    certificate = Certificate.model_validate_json(done.stdout)
    assert (certificate.model.name, certificate.n, certificate.alpha) == (MODEL, 3000, 0.01)
    assert done.stderr == ""
    assert "class" in inside("certify", DATA / "digit-3.png", "--n", "500", "--url", url).stdout
    several = inside("certify", f"{DATA}/digit-[0-2].png", "--n", "500", *there, "--format", "tsv")
    rows = list(csv.DictReader(several.stdout.splitlines(), delimiter="\t"))
    assert [Path(row["image"]).name for row in rows] == ["digit-0.png", "digit-1.png", "digit-2.png"]
    assert {row["n"] for row in rows} == {"500"}
    for arguments, complaint in (
        (["not-an-image.txt"], "Not an image we take"),
        (["digit-3.png", "--model", "nope"], "There is no model 'nope'"),
        (["digit-3.png", "--n", "9"], "least n is 10"),
    ):
        refused = inside("certify", DATA / arguments[0], *arguments[1:], "--url", url)
        assert refused.returncode == 2, refused.stderr
        assert complaint in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
    shown, document = on_a_terminal("certify", DATA / "digit-3.png", "--n", "3000", *there, "--json")
    assert Certificate.model_validate_json(document).n == 3000
    assert "votes" in shown
    folder = tmp_path / "digits"
    folder.mkdir()
    for name in ("digit-4.png", "digit-5.png"):
        shutil.copy(DATA / name, folder)
    shown, table = on_a_terminal("certify", folder, "--n", "500", "--url", url)
    assert "2/2" in shown
    assert [name in table for name in ("digit-4.png", "digit-5.png")] == [True, True]
    document = inside("certify", folder, "--n", "500", "--url", url, "--json").stdout
    assert [Path(one["image"]).name for one in json.loads(document)] == ["digit-4.png", "digit-5.png"]


def on_a_terminal(*arguments: object) -> tuple[str, str]:
    """What a person sees on the terminal that stderr is, and what goes to stdout."""
    theirs, ours = pty.openpty()
    command = [Path(sys.executable).with_name("smoothcert"), *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=ours, text=True) as process:
        os.close(ours)
        shown = b""
        with suppress(OSError):  # the terminal ends with its last user
            while said := os.read(theirs, 4096):
                shown += said
        document = process.communicate(timeout=60)[0]
    os.close(theirs)
    assert process.returncode == 0, shown
    return shown.decode(), document
