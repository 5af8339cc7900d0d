"""One request's id, from the service's first line about it to the worker's last."""

import json
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx2 as httpx
import pytest
from PIL import Image

from smoothcert.cli.processes import free_port
from tests.cli.test_service import running, wait_until_ready
from tests.worker.plant import MODEL, Plant, eventually

Line = dict[str, str]


def png(first: int) -> bytes:
    """2x2 pixels; what the first one does is said in stand_in.py."""
    image = Image.new("L", (2, 2))
    image.putpixel((0, 0), first)
    image.save(out := BytesIO(), "png")
    return out.getvalue()


@pytest.fixture
def site(plant: Plant) -> Iterator[str]:
    """A service in a process of its own, and a worker that is ready."""
    plant.launch()
    environment = {
        "SMOOTHCERT_REDIS_URL": plant.url,
        "SMOOTHCERT_MODELS": plant.folder,
        "SMOOTHCERT_DEFAULT_MODEL": MODEL,
    }
    port = free_port()
    with running(plant.folder / "service.log", "service", "--port", str(port), **environment):
        wait_until_ready(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"


def lines(folder: Path, request: str) -> list[Line]:
    """The lines of all logs about one request, in order of time."""
    said = [line for log in folder.glob("*.log") for line in log.read_text().splitlines()]
    found = [json.loads(line) for line in said if f'"request": "{request}"' in line]
    return sorted(found, key=lambda line: line["timestamp"])


def test_a_request_is_followed_through_service_and_worker(plant: Plant, site: str) -> None:
    ids = {}
    with httpx.Client(base_url=site, trust_env=False) as client:
        for request, pixel in (("shop-1", 0), ("shop-2", 254), ("shop-3", 1)):
            answer = client.post(
                "/certify",
                files={"image": png(pixel)},
                data={"n": 1000},
                headers={"X-Request-ID": request},
            )
            ids[request] = answer.json()["id"]
    ended = {request: plant.ended(job_id).status for request, job_id in ids.items()}
    assert ended == {"shop-1": "succeeded", "shop-2": "failed", "shop-3": "succeeded"}
    eventually(lambda: any(line["event"] == "finished" for line in lines(plant.folder, "shop-3")) or None)
    time.sleep(0.2)  # for lines that should not come

    for request, last in (
        ("shop-1", ["finished"]),
        ("shop-2", ["unexpected", "failed"]),
        ("shop-3", ["finished"]),
    ):
        said = lines(plant.folder, request)
        events = [line["event"] for line in said if line["logger"] != "service.middleware"]
        assert events == ["submitted", "begun", *last]
        assert {line["job"] for line in said if "job" in line} == {ids[request]}
        assert [line["path"] for line in said if line["event"] == "answered"] == ["/certify"]
    (broke,) = (line for line in lines(plant.folder, "shop-2") if line["event"] == "unexpected")
    assert "device-side" in broke["exception"]
