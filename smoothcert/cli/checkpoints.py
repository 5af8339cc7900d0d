"""Finds a model by name or checkpoint folder, and builds its engine."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from smoothcert.cli.settings import settings
from smoothcert.errors import UnknownModel
from smoothcert.models.registry import CARD_FILE, read_card
from smoothcert.schemas.card import ModelCard

if TYPE_CHECKING:
    from smoothcert.engines.config import EngineConfig
    from smoothcert.engines.engine import Engine


@dataclass(frozen=True)
class Checkpoint:
    """One model's folder and card."""

    folder: Path
    card: ModelCard


def find_checkpoint(model: str | None) -> Checkpoint:
    """The checkpoint of a name or folder, or the default model. Raises UnknownModel, BadCheckpoint."""
    config = settings()
    model = model or config.default_model
    folder = Path(model)
    if (folder / CARD_FILE).is_file():
        return Checkpoint(folder, read_card(folder))
    if folder.is_dir() or "/" in model:
        raise UnknownModel(f"{model} is no checkpoint folder: it has no {CARD_FILE}.")
    return Checkpoint(config.registry.folder(model), config.registry.card(model))


def default_engine(checkpoint: Checkpoint) -> "EngineConfig":
    """A good engine config for this machine, without measuring."""
    from smoothcert.engines.autotune import available_device, default_config

    card = checkpoint.card
    return default_config(card.input_shape, available_device(), int8=card.int8_is_as_good)


def fastest_engine(checkpoint: Checkpoint) -> "EngineConfig":
    """The fastest engine config, measured once and cached: worth it before many images."""
    from smoothcert.engines.autotune import Subject, choose_config
    from smoothcert.models.checkpoint import load_network

    card = checkpoint.card
    network = load_network(checkpoint.folder, card)
    return choose_config(Subject.of(network, card), settings().cache)


def build_engine(checkpoint: Checkpoint, engine: str | None) -> "Engine":
    """The engine of a checkpoint; by default that of SMOOTHCERT_SETUP, else a good one, not measured."""
    from smoothcert.engines.config import EngineConfig
    from smoothcert.engines.engine import Engine
    from smoothcert.models.checkpoint import load_network

    card = checkpoint.card
    engine = engine or settings().setup
    config = EngineConfig.parse(engine) if engine else default_engine(checkpoint)
    network = load_network(checkpoint.folder, card)
    return Engine(network, card.input_shape, len(card.labels), config)
