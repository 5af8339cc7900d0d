"""A plant for each test, with a model that no network is behind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from certification.catalogue import CARD_FILE, WEIGHTS_FILE
from certification.contract.card import ModelCard, Preprocessing
from certification.contract.store.delivery import connect
from tests.worker.plant import MODEL, Plant


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A catalogue of one model that no network is behind."""
    folder = tmp_path / MODEL
    folder.mkdir()
    card = ModelCard(
        name=MODEL,
        architecture="none",
        dataset="none",
        input_shape=(1, 2, 2),
        labels=["a", "b", "c"],
        preprocessing=Preprocessing(mode="L", mean=(0.0,), std=(1.0,)),
        sigma=0.5,
        method="none",
        weights_sha256="0" * 64,
        data_license="none",
    )
    (folder / CARD_FILE).write_text(card.model_dump_json())
    (folder / WEIGHTS_FILE).write_bytes(b"")
    return tmp_path


@pytest.fixture
def plant(redis_url: str, models: Path) -> Iterator[Plant]:
    with connect(redis_url) as client:
        plant = Plant(redis_url, models, client)
        yield plant
        plant.close()
