"""The whole schema against the real service, broker and worker: what it answers is what it declares."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2 as httpx
import pytest

from smoothcert.cli.processes import Broker, end, free_port, spawn
from smoothcert.schemas.api_keys import Keyring, draw
from tests.service.test_corpus import DIGIT
from tests.worker.conftest import planted
from tests.worker.plant import ROOT, Plant, eventually

EXAMPLES = 3  # made-up calls of each operation, beside those that cover the schema
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
ANN = draw("ann", open_jobs=1000, per_minute=6000)


@dataclass(frozen=True)
class Site:
    """A service with a worker; headers: what a caller of it sends."""

    url: str
    headers: dict[str, str]

    def made(self) -> dict[str, str]:
        """A job that has a certificate, and a batch, for the hooks."""
        with httpx.Client(base_url=self.url, headers=self.headers, timeout=60) as client:
            job = client.post("/certify", files={"image": DIGIT}, data={"n": 1000}).json()
            batch = client.post("/batches", files=[("image", DIGIT)] * 2, data={"n": 1000}).json()
            eventually(lambda: client.get(job["links"]["self"]).json()["status"] == "succeeded", 60)
        return {"KNOWN_JOB_ID": job["id"], "KNOWN_BATCH_ID": batch["id"]}


@pytest.fixture
def plant(valkey: Broker, tmp_path: Path) -> Iterator[Plant]:
    with planted(valkey, tmp_path) as plant:
        plant.launch()
        eventually(plant.store.workers, 60)
        yield plant


@pytest.fixture
def site(plant: Plant) -> Iterator[Site]:
    """With keys, so that every call goes the longer way."""
    Keyring(keys=(ANN.record,)).write(plant.folder / "keys.json")
    port, headers = free_port(), {"Authorization": f"Bearer {ANN.text}"}
    settings = {
        "SMOOTHCERT_REDIS_URL": plant.url,
        "SMOOTHCERT_MODELS": str(plant.folder),
        "SMOOTHCERT_API_KEYS": str(plant.folder / "keys.json"),
    }
    with (plant.folder / "service.log").open("wb") as log:
        command = [sys.executable, "-m", "service", "--port", str(port)]
        process = spawn(command, cwd=ROOT, env=os.environ | settings, stderr=log)
    site = Site(f"http://127.0.0.1:{port}", headers)
    eventually(lambda: answers(site), 60)
    yield site
    process.terminate()
    end(process, 10)


def answers(site: Site) -> bool:
    try:
        return httpx.get(f"{site.url}/health/ready").is_success
    except httpx.TransportError:
        return False


def operations(site: Site) -> int:
    paths = httpx.get(f"{site.url}/openapi.json").json()["paths"]
    return sum(len(methods) for methods in paths.values())


def test_every_answer_is_one_that_the_schema_declares(site: Site, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{site.url}/openapi.json"]
    command += [
        "--phases",
        "examples,coverage,fuzzing",
        "--checks",
        CHECKS,
        "--max-examples",
        str(EXAMPLES),
        "--workers",
        "2",
    ]
    command += ["--generation-deterministic", "--no-color", "--continue-on-failure", "--warnings", "off"]
    for name, value in site.headers.items():
        command += ["--header", f"{name}: {value}"]
    hooks = {
        "SCHEMATHESIS_HOOKS": "tests.acceptance.schema_hooks",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
    }
    done = subprocess.run(
        command,
        cwd=tmp_path,  # where it remembers what failed
        env=os.environ | hooks | site.made(),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    tested = re.search(r"Tested: +(\d+)", done.stdout)
    assert tested
    assert int(tested[1]) == operations(site)
