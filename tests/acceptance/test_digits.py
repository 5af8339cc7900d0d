"""`smoothcert up` with the bundled models: real digits are posted, real certificates come back."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest

from smoothcert.cli.processes import free_port, spawn
from smoothcert.models.registry import BUNDLED, ModelRegistry

DATA = Path(__file__).parents[1] / "data"
MODEL = "mnist-lenet-consistency-0.50"
N = 5_000  # votes: enough for a radius well above 0.5, quick on a small machine
PATIENCE = 120.0  # seconds

pytestmark = pytest.mark.skipif(
    MODEL not in ModelRegistry(BUNDLED).names(), reason=f"needs the bundled model {MODEL}"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    home = tmp_path_factory.mktemp("home")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SMOOTHCERT_")}
    environment |= {"XDG_STATE_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    command = [str(Path(sys.executable).with_name("smoothcert")), "up", "--port", str(port := free_port())]
    process = spawn(command, env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert f"http://127.0.0.1:{port}/".encode() in process.stdout.readline()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, trust_env=False) as client:
        yield client
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    process.stdout.close()


def post(site: httpx.Client, name: str, **fields: object) -> httpx.Response:
    return site.post("/certify", files={"image": (DATA / name).read_bytes()}, data={"n": N} | fields)


def certificate(site: httpx.Client, accepted: httpx.Response) -> dict:
    assert accepted.status_code == 202
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        job = site.get(accepted.headers["location"], params={"wait": 20}).json()
        if job["status"] not in ("queued", "running"):
            assert job["status"] == "succeeded", job["error"]
            return job["certificate"]
    raise AssertionError("the job did not end")


def test_every_digit_gets_its_class_and_a_radius(site: httpx.Client) -> None:
    posted = {label: post(site, f"digit-{label}.png") for label in range(10)}
    found = {label: certificate(site, answer) for label, answer in posted.items()}
    assert {label: one["predicted_class"] for label, one in found.items()} == {k: k for k in range(10)}
    assert min(one["radius"] for one in found.values()) > 0.5
    assert all(sum(one["counts"]) <= one["n"] <= N for one in found.values())


def test_noise_gets_an_abstention_or_a_small_radius(site: httpx.Client) -> None:
    noise = certificate(site, post(site, "noise.png"))
    assert noise["outcome"] == "abstained" or noise["radius"] < 0.5


def test_an_enlarged_cmyk_jpeg_of_a_digit_is_that_digit(site: httpx.Client) -> None:
    found = certificate(site, post(site, "digit-0-cmyk.jpg"))
    assert found["predicted_class"] == 0
    assert "resized from 280x280 to 28x28 (bilinear)" in found["input"]["preprocessing"]


def test_who_asks_again_gets_a_certificate_that_says_so(site: httpx.Client) -> None:
    first, second = (certificate(site, post(site, "digit-6.png", n=n)) for n in (1000, 2000))
    assert second["asked_before"] == first["asked_before"] + 1
    files = {"certificate": json.dumps(second).encode(), "image": (DATA / "digit-6.png").read_bytes()}
    verdict = site.post("/verify", files=files).json()
    assert verdict["holds"], verdict
    assert verdict["error_probability"] == pytest.approx(0.001 * (second["asked_before"] + 1))


def test_what_cannot_be_certified_is_refused(site: httpx.Client) -> None:
    assert post(site, "not-an-image.txt").status_code == 415
    assert site.post("/certify", files={"image": bytes(30_000_000)}).status_code == 413
    impossible = post(site, "digit-3.png", n=9)
    assert impossible.status_code == 422
    assert "10" in impossible.json()["errors"][0]["detail"]
