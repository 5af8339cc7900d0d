"""`python -m service` as an operator starts and stops it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from smoothcert.cli.local_broker import free_port
from tests.service.test_corpus import DIGIT, REFUSED, TAKEN, encode


@pytest.fixture
def server(redis_url: str, models: Path) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    with serving(redis_url, models) as started:
        yield started


@contextmanager
def serving(redis_url: str, models: Path) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """`python -m service` and its address."""
    port = free_port()
    environment = os.environ | {"SMOOTHCERT_REDIS_URL": redis_url, "SMOOTHCERT_MODELS": str(models)}
    process = subprocess.Popen([sys.executable, "-m", "service", "--port", str(port)], env=environment)
    url = f"http://127.0.0.1:{port}"
    while True:
        try:
            urllib.request.urlopen(f"{url}/health/live", timeout=1)
            break
        except OSError:
            assert process.poll() is None
            time.sleep(0.05)
    try:
        yield process, url
    finally:
        process.kill()
        process.wait()


def test_files_nobody_should_trust_cost_little_memory(
    server: tuple["subprocess.Popen[bytes]", str],
) -> None:
    process, url = server
    with httpx.Client(base_url=url, timeout=60) as client:
        for data in (DIGIT, DIGIT):  # what the first upload loads stays
            client.post("/certify", files={"image": data})
        before = peak(process)
        for data in (*REFUSED.values(), *(data for data, _ in TAKEN.values())):
            client.post("/certify", files={"image": data})
        grown = peak(process) - before
        print(f"the corpus: {grown:.0f} MB")
        assert grown < 32
        assert client.post("/certify", files={"image": largest()}).status_code == 202
        grown = peak(process) - before
        print(f"with the largest picture that is taken: {grown:.0f} MB")
        assert grown < 400


def peak(process: "subprocess.Popen[bytes]") -> float:
    """The most memory it ever had resident, MB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return float(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1000


def largest() -> bytes:
    return encode(Image.new("RGBA", (8192, 6144)))


def test_a_service_told_to_stop_ends_its_streams_and_is_gone_within_two_seconds(
    server: tuple["subprocess.Popen[bytes]", str], client: TestClient, digit: bytes
) -> None:
    process, url = server
    job = client.post("/certify", files={"image": digit}).json()
    with urllib.request.urlopen(url + job["links"]["events"], timeout=20) as stream:
        assert stream.readline() == b"event: job\n"
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        rest = stream.read().decode()
    assert json.loads(rest.splitlines()[0].removeprefix("data: "))["status"] == "queued"
    process.wait(timeout=10)
    assert time.monotonic() - start < 2
