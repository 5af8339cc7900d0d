"""The classifier that `smoothcert train denoiser` puts a denoiser before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from smoothcert.cli.output import note
from smoothcert.errors import InvalidRequest

if TYPE_CHECKING:
    from torch import nn

    from smoothcert.cli.checkpoints import Checkpoint
    from smoothcert.schemas.card import ModelCard
    from training.datasets.image_set import ImageSet
    from training.recipe import FrozenClassifier

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
        from smoothcert.cli.checkpoints import require_fitting
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
    from smoothcert.cli.checkpoints import find_checkpoint
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
