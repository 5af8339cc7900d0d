"""The page where the service wants API keys: the browser asks for one, as for any password."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from service.app import create_app
from service.settings import Settings
from smoothcert.cli.processes import Broker, free_port
from smoothcert.schemas.api_keys import Keyring, draw
from tests.acceptance.test_browser import broker, chromium, playwright, pytestmark, worker
from tests.acceptance.visit import Server, Visit
from tests.service.shelf import MODEL, measured, write_model
from tests.service.worker import StandInWorker

__all__ = ["broker", "chromium", "pytestmark", "worker"]  # fixtures and marks of the page's other tests
ANN = draw("ann")


@pytest.fixture(name="guarded")
def guarded_site(broker: Broker, tmp_path: Path) -> Iterator[str]:
    write_model(tmp_path / "models", MODEL, 0.5, evaluation=measured(0.5))
    Keyring(keys=(ANN.record,)).write(tmp_path / "keys.json")
    settings = Settings(redis_url=broker.url, models=tmp_path / "models", api_keys=tmp_path / "keys.json")
    port = free_port()
    config = uvicorn.Config(create_app(settings), port=port, log_level="error", timeout_graceful_shutdown=1)
    with Server(config):
        yield f"http://127.0.0.1:{port}"


def test_who_gives_the_key_as_password_certifies_follows_and_fetches(
    chromium: "playwright.Browser",
    guarded: str,
    worker: StandInWorker,
) -> None:
    here = Visit(chromium, guarded, http_credentials={"username": "ann", "password": ANN.text})
    task = worker.begin(here.certify())
    worker.report(task, 500, 0.75)
    here.says("#verdict", "0.750")
    worker.finish(task)
    here.until("succeeded")
    here.page.wait_for_function(
        "[...document.images].some(i => i.src.includes('input.png') || i.src.startsWith('blob:'))"
    )
    here.page.context.close()
    assert here.strangers == []


def test_a_caller_without_a_key_is_asked_for_one(chromium: "playwright.Browser", guarded: str) -> None:
    here = Visit(chromium, guarded, http_credentials={"username": "ann", "password": "wrong"})
    here.page.get_by_role("button", name="Certify").click()
    here.says('[role="alert"]', "API key")
    here.page.context.close()
