"""A typed client, generated from the service's own OpenAPI document, certifies an image."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from service.app import create_app
from service.settings import Settings
from smoothcert.cli.processes import free_port
from smoothcert.jobs.store import JobStore
from tests.acceptance.visit import Server
from tests.service.worker import StandInWorker

ROOT = Path(__file__).resolve().parents[2]
OURS = ROOT / "build/openapi/bin/openapi-python-client"  # `make openapi-client` puts it there

SCRIPT = """
import sys
from io import BytesIO
from pathlib import Path
from typed import Client, models, types
from typed.api.jobs import certify, get_certificate, get_input, get_job

client = Client(base_url=sys.argv[1])
content = BytesIO(Path(sys.argv[2]).read_bytes())
picture = types.File(payload=content, file_name="digit.png", mime_type="image/png")
job = certify.sync(client=client, body=models.CertifyForm(image=picture, n=1000))
assert isinstance(job, models.Job), job
job = get_job.sync(job.id, client=client, wait=20.0)
certificate = get_certificate.sync(job.id, client=client)
assert get_input.sync_detailed(job.id, client=client).content.startswith(b"\\x89PNG")
print(job.status.value, certificate.predicted_class, certificate.radius)
"""


def tool() -> str:
    found = str(OURS) if OURS.exists() else shutil.which("openapi-python-client")
    if found is None:
        pytest.skip("needs openapi-python-client (make openapi-client)")
    return found


@pytest.fixture
def url(redis_url: str, models: Path, worker: StandInWorker, service_store: JobStore) -> Iterator[str]:
    """A service whose jobs are certified by a stand-in."""
    port, ended = free_port(), threading.Event()

    def work() -> None:
        while not ended.wait(0.02):
            for job in service_store.page().jobs:
                if job.status == "queued":
                    worker.finish(worker.begin(job.id))

    app = create_app(Settings(redis_url=redis_url, models=models))
    with Server(uvicorn.Config(app, port=port, log_level="error", timeout_graceful_shutdown=1)):
        thread = threading.Thread(target=work)
        thread.start()
        yield f"http://127.0.0.1:{port}"
        ended.set()
        thread.join()


def test_a_generated_client_certifies(url: str, settings: Settings, tmp_path: Path) -> None:
    generator = tool()
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(create_app(settings).openapi()))
    command = [
        generator,
        "generate",
        "--path",
        document,
        "--output-path",
        tmp_path / "typed",
        "--meta",
        "none",
    ]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    python = Path(generator).resolve().parent / "python"
    digit = ROOT / "tests/data/digit-7.png"
    done = subprocess.run(
        [python, "-c", SCRIPT, url, digit], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "succeeded 7 1.5\n"


def test_operations_have_names_a_person_would_choose(settings: Settings) -> None:
    document = create_app(settings).openapi()
    paths = document["paths"]
    names = [operation["operationId"] for operations in paths.values() for operation in operations.values()]
    assert {"certify", "certify_batch", "get_job", "cancel_job", "list_models", "get_version"} <= set(names)
    assert len(set(names)) == len(names)
    assert paths["/jobs/{job_id}/input.png"]["get"]["responses"]["200"]["content"]["image/png"]["schema"]
    form = document["components"]["schemas"]["CertifyForm"]
    assert form["properties"]["image"]["format"] == "binary"
