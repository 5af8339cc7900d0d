"""Stability training: Li, Chen, Wang & Carin, NeurIPS 2019, after Zheng et al., CVPR 2016."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from training.datasets import defaults_family
from training.methods.base import (
    Method,
    TrainingProgress,
    cross_entropy,
    log_probabilities,
    mean_cross_entropy,
    nearest_sigma,
    repeat_with_noise,
    require_at_least,
)

WEIGHTS = {
    "mnist": {0.25: 2.0, 0.5: 2.0, 1.0: 2.0},
    "cifar10": {0.25: 2.0, 0.5: 2.0, 1.0: 1.0},
    "imagenet": {0.25: 2.0, 0.5: 2.0, 1.0: 1.0},  # not published: CIFAR-10's
}


@dataclass(frozen=True)
class Stability(Method):
    """CE(F(x), y) + weight * mean_i CE(F(x), F_i).

    Clean and noisy images take separate forward passes, as published, so batch norm does not mix their
    statistics. Gradients flow through both.
    """

    weight: float = field(default=2.0, metadata={"help": "weight of the stability term (lambda)"})

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(0, weight=self.weight)

    @classmethod
    def defaults(cls, dataset: str, sigma: float, **given: Any) -> dict[str, Any]:
        """The published weight for this data set and the nearest noise level."""
        return {"num_noises": 1, "weight": nearest_sigma(WEIGHTS[defaults_family(dataset)], sigma)}

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
        clean_1BK = log_probabilities(network, images_BCHW, 1)
        noisy_mBK = log_probabilities(network, noisy_NCHW, self.num_noises)
        return stability_loss(clean_1BK, noisy_mBK, labels_B, self.weight)


def stability_loss(clean_1BK: Tensor, noisy_mBK: Tensor, labels_B: Tensor, weight: float) -> Tensor:
    """The loss from the log probabilities of clean images and of their noisy copies: a scalar."""
    return mean_cross_entropy(clean_1BK, labels_B) + weight * cross_entropy(clean_1BK, noisy_mBK).mean()
