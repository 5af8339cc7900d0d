"""Finds a model by name or checkpoint folder, builds its engine, loads images that fit it."""

import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from smoothcert.cli.output import note
from smoothcert.errors import InvalidRequest, UnknownModel
from smoothcert.models.registry import CARD_FILE, read_card
from smoothcert.schemas.card import ModelCard

if TYPE_CHECKING:
    from smoothcert.engines.config import EngineConfig
    from smoothcert.engines.engine import Engine
    from training.datasets.image_set import ImageSet


@dataclass(frozen=True)
class Checkpoint:
    """One model's folder and card."""

    folder: Path
    card: ModelCard


@dataclass(frozen=True)
class Selection:
    """The images to certify: every K-th of a split, at most `limit`."""

    dataset: str
    split: Literal["train", "test"]
    data_root: Path
    every: int
    limit: int | None


def find_checkpoint(model: str | None) -> Checkpoint:
    """The checkpoint of a name or folder, or the default model. Raises UnknownModel, BadCheckpoint."""
    from smoothcert.cli.settings import settings

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
    from smoothcert.cli.settings import settings
    from smoothcert.engines.autotune import Subject, choose_config
    from smoothcert.models.checkpoint import load_network

    card = checkpoint.card
    network = load_network(checkpoint.folder, card)
    return choose_config(Subject.of(network, card), settings().cache)


def build_engine(checkpoint: Checkpoint, engine: str | None) -> "Engine":
    """The engine of a checkpoint; by default that of SMOOTHCERT_SETUP, else a good one, not measured."""
    from smoothcert.cli.settings import settings
    from smoothcert.engines.config import EngineConfig
    from smoothcert.engines.engine import Engine
    from smoothcert.models.checkpoint import load_network

    card = checkpoint.card
    engine = engine or settings().setup
    config = EngineConfig.parse(engine) if engine else default_engine(checkpoint)
    network = load_network(checkpoint.folder, card)
    return Engine(network, card.input_shape, len(card.labels), config)


def load_images(checkpoint: Checkpoint, selection: Selection) -> "ImageSet":
    """Load the split to certify. Raises InvalidRequest if its images or classes do not fit the model."""
    from training.datasets import load_dataset

    card = checkpoint.card
    size = card.input_shape[1] if selection.dataset.startswith("folder:") else None
    images = load_dataset(selection.dataset, selection.split, selection.data_root, size=size, stream=True)
    if images.summary:
        note(images.summary)
    if not len(images):
        raise InvalidRequest(f"{selection.dataset} has no {selection.split} images.")
    require_fitting(selection.dataset, images, tuple(images.images_u8.shape[1:]), card)
    return images


def require_fitting(dataset: str, images: "ImageSet", shape: tuple[int, ...], card: ModelCard) -> None:
    """Raises InvalidRequest if images of this shape (C, H, W), or their classes, do not fit the model."""
    if shape != card.input_shape:
        has, wants = ("x".join(map(str, each)) for each in (shape, card.input_shape))
        raise InvalidRequest(f"{dataset} has {has} images and {card.name} takes {wants} ones.")
    if len(images.class_names) != len(card.labels):
        raise InvalidRequest(
            f"{dataset} has {len(images.class_names)} classes and {card.name} {len(card.labels)}."
        )
    _check_labels(dataset, images, card)


def _check_labels(dataset: str, images: "ImageSet", card: ModelCard) -> None:
    """For a model trained on a folder: the class names must be equal. Raises InvalidRequest."""
    from training.datasets import FOLDER

    if not dataset.startswith(FOLDER) or card.dataset != FOLDER.removesuffix(":"):
        return
    for here, known in zip(images.class_names, card.labels, strict=True):
        if here != unicodedata.normalize("NFC", known):
            raise InvalidRequest(f"{dataset} has a class {here!r} where {card.name} has {known!r}.")
