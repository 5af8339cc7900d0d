"""Gaussian augmentation: Cohen, Rosenfeld & Kolter, ICML 2019."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

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
