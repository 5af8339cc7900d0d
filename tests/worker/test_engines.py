from pathlib import Path

import numpy as np
import pytest
import torch

from smoothcert.engines.config import EngineConfig
from smoothcert.errors import BadCheckpoint
from smoothcert.models.architectures import build_network
from smoothcert.models.checkpoint import save_card, save_checkpoint
from smoothcert.models.registry import ModelRegistry
from smoothcert.schemas.card import ModelCard, Preprocessing
from smoothcert.votes import VoteRange
from worker.engines import Engines
from worker.models import EngineCache, Loaded
from worker.settings import Settings

VOTES = VoteRange("estimation", 0, 300)


def save(folder: Path, seed: int) -> None:
    torch.manual_seed(seed)
    card = ModelCard(
        name=folder.name,
        architecture="lenet",
        dataset="mnist",
        input_shape=(1, 28, 28),
        labels=[str(digit) for digit in range(10)],
        preprocessing=Preprocessing(mode="L", mean=(0.0,), std=(1.0,)),
        sigma=0.5,
        method="none",
        weights_sha256="0" * 64,
        data_license="none",
    )
    save_checkpoint(folder, build_network("lenet", 10, (0.0,), (1.0,)), card)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    save(tmp_path / "m", seed=0)
    return Settings(models=tmp_path, setup=str(EngineConfig("cpu", "eager", "float32", 64, threads=1)))


@pytest.fixture
def cache(settings: Settings) -> EngineCache:
    return EngineCache(ModelRegistry(settings.models), settings.engine_builder())


def votes_of(loaded: Loaded) -> list[int]:
    image_CHW = np.full((1, 28, 28), 100, np.uint8)
    counts: list[int] = loaded.engine.sampler(image_CHW, 0.5, 7).count(VOTES).tolist()
    return counts


def test_an_architecture_that_nobody_knows_is_the_checkpoints_fault(
    cache: EngineCache, settings: Settings
) -> None:
    cache.check("m")
    card = ModelRegistry(settings.models).card("m")
    save_card(settings.models / "m", card.model_copy(update={"architecture": "vit-of-mine"}))
    with pytest.raises(BadCheckpoint, match=r"card\.json: There is no architecture 'vit-of-mine'"):
        cache.check("m")
    with pytest.raises(BadCheckpoint, match="no architecture"):
        cache.load("m", None)


def test_a_model_is_built_once(cache: EngineCache) -> None:
    chosen = cache.load("m", None)
    assert cache.load("m", None) is chosen
    assert cache.load("m", chosen.engine.description) is chosen


def test_a_pinned_set_up_is_built_in_another_process_too(settings: Settings) -> None:
    first = EngineCache(ModelRegistry(settings.models), Engines(settings))
    chosen = first.load("m", None)
    other = EngineCache(ModelRegistry(settings.models), Engines(settings.model_copy(update={"setup": None})))
    assert other.platform == first.platform
    again = other.load("m", chosen.engine.description)
    assert again.engine.description == chosen.engine.description
    assert votes_of(again) == votes_of(chosen)


def test_a_checkpoint_replaced_on_disk_is_another_engine(cache: EngineCache, settings: Settings) -> None:
    before = cache.load("m", None)
    save(settings.models / "m", seed=1)
    after = cache.load("m", None)
    assert after.card.weights_sha256 != before.card.weights_sha256
    assert after.engine is not before.engine


def test_equal_weights_under_another_card_are_another_engine(cache: EngineCache, settings: Settings) -> None:
    save(settings.models / "twin", seed=0)
    card = ModelRegistry(settings.models).card("twin")
    first_layer = card.preprocessing.model_copy(update={"std": (0.2,)})
    save_card(
        settings.models / "twin",
        card.model_copy(update={"labels": list("abcdefghij"), "preprocessing": first_layer}),
    )
    one, twin = cache.load("m", None), cache.load("twin", None)
    assert one.card.weights_sha256 == twin.card.weights_sha256
    assert (twin.card.name, twin.card.labels[0]) == ("twin", "a")
    assert one.classifier_sha256 != twin.classifier_sha256
    assert votes_of(one) != votes_of(twin)


def test_weights_replaced_after_the_card_was_read_do_not_vote_in_its_name(settings: Settings) -> None:
    card = ModelRegistry(settings.models).card("m")
    save(settings.models / "m", seed=1)
    with pytest.raises(BadCheckpoint):
        Engines(settings).build(settings.models / "m", card, None)


def test_a_job_pinned_to_int8_is_given_another_set_up_once_the_model_has_no_rounding(
    cache: EngineCache,
) -> None:
    chosen = cache.load("m", None)
    lost = chosen.engine.description.model_copy(update={"precision": "int8"})
    again = cache.load("m", lost)
    assert again.engine.description == chosen.engine.description  # so the holder starts the job again
    assert again.built_for == lost
