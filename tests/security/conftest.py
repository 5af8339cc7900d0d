"""Attacks on a real service over a real Valkey: docs/threat-model.md names them one by one."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.service.conftest import client, digit, models, post, settings, worker

__all__ = ["client", "digit", "models", "post", "settings", "worker"]

Open = Callable[..., TestClient]


@pytest.fixture
def open_service(settings: Settings) -> Iterator[Open]:
    """Services with some settings changed."""
    with ExitStack() as stack:

        def started(**changed: object) -> TestClient:
            app = create_app(settings.model_copy(update=changed))
            return stack.enter_context(TestClient(app, raise_server_exceptions=False))

        yield started
