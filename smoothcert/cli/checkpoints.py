"""Finds a model by name or checkpoint folder, builds its engine, loads images that fit it.

And the classifier that `smoothcert train denoiser` puts a denoiser before.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from smoothcert.cli.output import note
from smoothcert.errors import InvalidRequest, UnknownModel
from smoothcert.models.registry import CARD_FILE, read_card
from smoothcert.schemas.card import ModelCard

if TYPE_CHECKING:
    from torch import nn

    from smoothcert.engines.config import EngineConfig
    from smoothcert.engines.engine import Engine
    from training.datasets.image_set import ImageSet
    from training.recipe import FrozenClassifier


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


def default_engine(checkpoint: Checkpoint) -> EngineConfig:
    """A good engine config for this machine, without measuring."""
    from smoothcert.engines.autotune import available_device, default_config

    card = checkpoint.card
    return default_config(card.input_shape, available_device(), int8=card.int8_is_as_good)


def fastest_engine(checkpoint: Checkpoint) -> EngineConfig:
    """The fastest engine config, measured once and cached: worth it before many images."""
    from smoothcert.cli.settings import settings
    from smoothcert.engines.autotune import Subject, choose_config
    from smoothcert.models.checkpoint import load_network

    card = checkpoint.card
    network = load_network(checkpoint.folder, card)
    return choose_config(Subject.of(network, card), settings().cache)


def build_engine(checkpoint: Checkpoint, engine: str | None) -> Engine:
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


def load_images(checkpoint: Checkpoint, selection: Selection) -> ImageSet:
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


def require_fitting(dataset: str, images: ImageSet, shape: tuple[int, ...], card: ModelCard) -> None:
    """Raises InvalidRequest if images of this shape (C, H, W), or their classes, do not fit the model."""
    if shape != card.input_shape:
        has, wants = ("x".join(map(str, each)) for each in (shape, card.input_shape))
        raise InvalidRequest(f"{dataset} has {has} images and {card.name} takes {wants} ones.")
    if len(images.class_names) != len(card.labels):
        raise InvalidRequest(
            f"{dataset} has {len(images.class_names)} classes and {card.name} {len(card.labels)}."
        )
    _check_labels(dataset, images, card)


def _check_labels(dataset: str, images: ImageSet, card: ModelCard) -> None:
    """For a model trained on a folder: the class names must be equal. Raises InvalidRequest."""
    from training.datasets import FOLDER

    if not dataset.startswith(FOLDER) or card.dataset != FOLDER.removesuffix(":"):
        return
    for here, known in zip(images.class_names, card.labels, strict=True):
        if here != unicodedata.normalize("NFC", known):
            raise InvalidRequest(f"{dataset} has a class {here!r} where {card.name} has {known!r}.")


WITHOUT_NOISE = ("standard", "added")  # methods of cards


@dataclass(frozen=True)
class FrozenModel:
    """A checkpoint that is used as it is."""

    checkpoint: Checkpoint

    @property
    def card(self) -> ModelCard:
        return self.checkpoint.card

    @property
    def record(self) -> FrozenClassifier:
        """What a recipe and the pair's card take from it."""
        from training.recipe import FrozenClassifier

        card = self.card
        return FrozenClassifier(
            name=card.name,
            sha256=card.classifier_sha256_in("float32"),
            architecture=card.architecture,
            mean=card.preprocessing.mean,
            std=card.preprocessing.std,
            labels=tuple(card.labels),
            resize=card.preprocessing.resize,
        )

    def network(self) -> nn.Module:
        """Its network in float32, without its int8 rounding; with its ONNX file, if it has one, to be saved.

        Raises BadCheckpoint.
        """
        from smoothcert.models.checkpoint import load_network
        from smoothcert.models.registry import ONNX, ONNX_FILE

        network = load_network(self.checkpoint.folder, self.card.model_copy(update={"int8": None}))
        if self.card.architecture == ONNX:
            network.onnx = (self.checkpoint.folder / ONNX_FILE).read_bytes()  # type: ignore[assignment]
        return network

    def require_fitting(self, dataset: str, images: ImageSet) -> None:
        """Raises InvalidRequest if the training images are not of the classifier's size and classes."""
        from smoothcert.models.registry import UNKNOWN_DATASET

        require_fitting(dataset, images, images.input_shape, self.card)
        if self.card.dataset != UNKNOWN_DATASET and tuple(self.card.labels) != tuple(images.class_names):
            raise InvalidRequest(
                f"{self.card.name} names other classes than {dataset}: {self.card.labels[0]!r} is first "
                f"there, {images.class_names[0]!r} here."
            )

    def warn(self) -> None:
        """Say so if the classifier needs no denoiser."""
        card = self.card
        if card.method not in WITHOUT_NOISE:
            note(
                f"{card.name} was trained with noise ({card.method}, sigma {card.sigma:g}): a denoiser helps "
                "classifiers that were not."
            )


def classifier_for(method: str, classifier: str | None, arch: str | None) -> FrozenModel | None:
    """The model that `--classifier` names, if the method needs one. Raises InvalidRequest, BadCheckpoint."""
    from smoothcert.models.registry import DenoisedArchitecture
    from training.methods import find_method

    if not find_method(method).needs_classifier:
        if classifier is not None:
            raise InvalidRequest(f"--classifier is an option of denoiser alone; {method} has none.")
        return None
    if classifier is None:
        raise InvalidRequest(
            f"{method} needs --classifier MODEL: a bundled name, or a checkpoint folder. "
            "`smoothcert add` makes one from ONNX or weights."
        )
    if arch is not None:
        raise InvalidRequest(f"{method} takes the network of --classifier, so that --arch is left out.")
    found = find_checkpoint(classifier)
    if DenoisedArchitecture.parse(found.card.architecture):
        raise InvalidRequest(
            f"--classifier {found.card.name} has a denoiser already: name the model behind it."
        )
    return FrozenModel(found)
