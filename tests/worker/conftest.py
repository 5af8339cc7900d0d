"""A plant for each test, with a model that no network is behind."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from smoothcert.cli.processes import Broker
from smoothcert.jobs.broker import connect
from smoothcert.models.registry import CARD_FILE, WEIGHTS_FILE
from tests.conftest import fresh_database
from tests.support.cards import card_with
from tests.support.ranges import ranges_of
from tests.worker.inside import Inside
from tests.worker.plant import MODEL, Plant
from tests.worker.stand_in import BLOCK


def write_model(folder: Path, weights_sha256: str = "0" * 64) -> None:
    """A checkpoint that only looks like one."""
    folder.mkdir(exist_ok=True)
    card = card_with(
        name=folder.name, input_shape=(1, 2, 2), labels=["a", "b", "c"], weights_sha256=weights_sha256
    )
    (folder / CARD_FILE).write_text(card.model_dump_json())
    (folder / WEIGHTS_FILE).write_bytes(b"")


@contextmanager
def planted(valkey: Broker, folder: Path) -> Iterator[Plant]:
    write_model(folder / MODEL)
    url = fresh_database(valkey)
    with connect(url) as client:
        plant = Plant(url, folder, client)
        try:
            yield plant
        finally:
            plant.close()


@pytest.fixture
def plant(valkey: Broker, tmp_path: Path) -> Iterator[Plant]:
    """A plant without workers."""
    with planted(valkey, tmp_path) as plant:
        yield plant


@pytest.fixture(scope="module")
def shared_plant(valkey: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """A plant whose workers live through a whole file of tests, unless a test ends them."""
    with planted(valkey, tmp_path_factory.mktemp("plant")) as plant:
        yield plant


@pytest.fixture
def steady(shared_plant: Plant) -> Plant:
    """A shared plant with two workers alike."""
    shared_plant.staff("stand-in", "stand-in")
    return shared_plant


@pytest.fixture
def inside(redis_url: str, tmp_path: Path) -> Iterator[Inside]:
    """Certifiers in this process; a range is a batch."""
    write_model(tmp_path / MODEL)
    inside = Inside(redis_url, tmp_path)
    with ranges_of(BLOCK):
        yield inside
    inside.close()
