"""Texts that others chose, on the page in a real browser: none becomes markup, none runs."""

import json
from collections.abc import Callable, Iterator

import pytest
import uvicorn

from service.app import create_app
from service.settings import Settings
from smoothcert.cli.processes import Broker, free_port
from smoothcert.models.registry import CARD_FILE
from tests.acceptance.test_browser import broker, chromium, pytestmark, visit, worker
from tests.acceptance.visit import Server, Visit
from tests.service.shelf import MODEL, measured, write_model
from tests.service.worker import StandInWorker, certificate, progress

__all__ = ["broker", "chromium", "pytestmark", "visit", "worker"]

EVIL = '<img src=x onerror="window.hurt=1"><script>window.hurt=1</script>\'"\u202e'


@pytest.fixture(scope="module")
def site(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with a model whose every text is an attack."""
    models = tmp_path_factory.mktemp("models")
    write_model(models, MODEL, evaluation=measured(0.5))
    path = models / MODEL / CARD_FILE
    card = json.loads(path.read_text())
    card |= {
        "labels": [EVIL] * 10,
        "dataset": EVIL,
        "method": EVIL,
        "data_license": EVIL,
    }
    path.write_text(json.dumps(card))
    port = free_port()
    app = create_app(Settings(redis_url=broker.url, models=models))
    with Server(uvicorn.Config(app, port=port, log_level="error", timeout_graceful_shutdown=1)):
        yield f"http://127.0.0.1:{port}"


def test_labels_cards_and_file_names_are_shown_as_text(
    visit: Callable[..., Visit], worker: StandInWorker, digit: bytes
) -> None:
    here = visit()
    here.page.set_input_files("#file", {"name": EVIL, "mimeType": "image/png", "buffer": digit})
    task = worker.begin(here.certify())
    worker.report(task, 500, 0.75)
    here.says("#verdict", "onerror")
    evil = certificate(task, 1000, 1.5).model_copy(update={"label": EVIL})
    worker.votes.finish(task, evil, progress(1000, 1.5))
    here.until("succeeded")
    here.says("#verdict", "<script>")
    here.says("#votes", "onerror")
    here.says("#history", "<img src=x")
    here.page.reload()
    here.says("#history", "<img src=x")
    assert here.page.evaluate("window.hurt") is None
    assert here.page.locator("img[src=x]").count() == 0
    assert here.page.locator("main script").count() == 0


def test_an_address_that_names_a_strange_job_leads_nowhere(visit: Callable[..., Visit], site: str) -> None:
    here = visit()
    here.page.goto(f"{site}/#../../docs?x=<img src=x onerror='window.hurt=1'>")
    here.page.reload()
    here.says('[role="alert"]', "Not Found")
    assert here.page.evaluate("window.hurt") is None
