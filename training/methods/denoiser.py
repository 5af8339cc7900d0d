"""Denoised smoothing: Salman, Sun, Yang, Kapoor & Kolter, NeurIPS 2020.

A denoiser is trained before a classifier that stays as it is, so that the two together are a base classifier.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from smoothcert.errors import InvalidRequest
from smoothcert.models.registry import MAX_CHANNELS, MAX_DEPTH
from training.datasets import defaults_family
from training.methods.base import (
    Method,
    TrainingProgress,
    log_probabilities,
    mean_cross_entropy,
    repeat_with_noise,
    require_at_least,
    require_one_of,
)

FORMS = ("mse", "stability")
SIZES = {  # of the denoiser: depth, channels
    "mnist": (5, 16),  # not published: enough for 28x28 grey pixels
    "cifar10": (17, 64),
    "imagenet": (17, 64),
}


@dataclass(frozen=True)
class Denoiser(Method):
    """mse: mean over pixels of (D(x+delta_i) - x)^2. stability: CE(F(D(x+delta_i)), argmax F(x)).

    D: the denoiser. F: the frozen classifier. The labels are not used.
    """

    needs_classifier: ClassVar[bool] = True

    form: str = field(
        default="mse",
        metadata={"option": "loss", "help": "mse: like the image; stability: classified like the image"},
    )
    depth: int = field(default=17, metadata={"help": "convolutions of the denoiser"})
    channels: int = field(default=64, metadata={"help": "channels between them"})

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of(FORMS, loss=self.form)
        require_at_least(2, depth=self.depth)
        require_at_least(1, channels=self.channels)
        if self.depth > MAX_DEPTH or self.channels > MAX_CHANNELS:
            raise InvalidRequest(
                f"A denoiser has depth {MAX_DEPTH} and {MAX_CHANNELS} channels at most, "
                f"not {self.depth} and {self.channels}."
            )

    @classmethod
    def defaults(cls, dataset: str, sigma: float, **given: Any) -> dict[str, Any]:
        """The published denoiser for colour images, a smaller one for MNIST."""
        depth, channels = SIZES[defaults_family(dataset)]
        return {"num_noises": 1, "form": "mse", "depth": depth, "channels": channels}

    @property
    def unused_options(self) -> frozenset[str]:
        """See Method.unused_options."""
        return frozenset({"depth", "channels"})

    def loss(
        self,
        network: nn.Module,
        images_BCHW: Tensor,
        labels_B: Tensor,
        progress: TrainingProgress,
        generator: torch.Generator | None,
        *,
        classifier: nn.Module | None = None,
    ) -> Tensor:
        """See Method.loss. network: the denoiser. classifier: frozen, in evaluation mode."""
        assert classifier is not None
        noisy_NCHW = repeat_with_noise(images_BCHW, self.num_noises, self.sigma, generator)
        denoised_NCHW = network(noisy_NCHW)
        if self.form == "mse":
            return _mean_square(denoised_NCHW, images_BCHW.repeat(self.num_noises, 1, 1, 1))
        with torch.no_grad():
            targets_B = classifier(images_BCHW).argmax(-1)
        return mean_cross_entropy(log_probabilities(classifier, denoised_NCHW, self.num_noises), targets_B)


def _mean_square(denoised_NCHW: Tensor, clean_NCHW: Tensor) -> Tensor:
    """Mean over images and pixels, float32 or wider."""
    wide = torch.promote_types(denoised_NCHW.dtype, torch.float32)
    return functional.mse_loss(denoised_NCHW.to(wide), clean_NCHW.to(wide))
