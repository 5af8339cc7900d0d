"""Cross entropy under Gaussian noise (Cohen, Rosenfeld & Kolter, ICML 2019), and without noise."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from smoothcert.errors import InvalidRequest
from training.methods.base import (
    Method,
    TrainingProgress,
    log_probabilities,
    mean_cross_entropy,
    repeat_with_noise,
)


@dataclass(frozen=True)
class Gaussian(Method):
    """mean_i CE(F_i, y)."""

    @classmethod
    def defaults(cls, dataset: str, sigma: float, **given: Any) -> dict[str, Any]:
        """One noise per image on every data set."""
        return {"num_noises": 1}

    def loss(
        self,
        network: nn.Module,
        images_BCHW: Tensor,
        labels_B: Tensor,
        progress: TrainingProgress,
        generator: torch.Generator | None,
    ) -> Tensor:
        """See Method.loss."""
        noisy_NCHW = repeat_with_noise(images_BCHW, self.num_noises, self.sigma, generator)
        return mean_cross_entropy(log_probabilities(network, noisy_NCHW, self.num_noises), labels_B)


@dataclass(frozen=True)
class Standard(Method):
    """CE(F(x), y), without noise. sigma: only the level at which the network is certified."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_noises != 1:
            raise InvalidRequest("num_noises must be 1: standard training draws no noise.")

    @classmethod
    def defaults(cls, dataset: str, sigma: float, **given: Any) -> dict[str, Any]:
        """It has no options."""
        return {"num_noises": 1}

    @property
    def unused_options(self) -> frozenset[str]:
        """See Method.unused_options."""
        return frozenset({"num_noises"})

    def loss(
        self,
        network: nn.Module,
        images_BCHW: Tensor,
        labels_B: Tensor,
        progress: TrainingProgress,
        generator: torch.Generator | None,
    ) -> Tensor:
        """See Method.loss."""
        return mean_cross_entropy(log_probabilities(network, images_BCHW, 1), labels_B)
