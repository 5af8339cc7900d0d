"""Stability training: Li, Chen, Wang & Carin, NeurIPS 2019 (after Zheng et al., CVPR 2016)."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from training.methods.base import TrainingProgress, repeat_with_noise
from training.methods.checks import by_sigma, family, need_at_least, need_positive
from training.methods.probabilities import cross_entropy, log_probabilities, mean_cross_entropy

WEIGHTS = {
    "mnist": {0.25: 2.0, 0.5: 2.0, 1.0: 2.0},
    "cifar10": {0.25: 2.0, 0.5: 2.0, 1.0: 1.0},
    "imagenet": {0.25: 2.0, 0.5: 2.0, 1.0: 1.0},  # none published: as CIFAR-10
}


@dataclass(frozen=True)
class Stability:
    """CE(F(x), y) + weight * mean_i CE(F(x), F_i): learn on the clean image, answer alike on the noisy one.

    Clean and noisy images go through the network one after the other, as published: batch norm then never
    mixes their statistics. Gradients flow through both sides. Raises InvalidRequest on an option out of
    range.
    """

    sigma: float = field(metadata={"help": "noise level, in units of pixels in [0,1]"})
    num_noises: int = field(default=1, metadata={"help": "noises per image in one step (m)"})
    weight: float = field(default=2.0, metadata={"help": "weight of the stability term (lambda)"})

    def __post_init__(self) -> None:
        need_positive(sigma=self.sigma)
        need_at_least(1, num_noises=self.num_noises)
        need_at_least(0, weight=self.weight)

    @property
    def chunks(self) -> int:
        """One optimizer step for each noise of a batch; see Method."""
        return self.num_noises

    @classmethod
    def defaults(cls, dataset: str, sigma: float, **given: Any) -> dict[str, Any]:
        """The published weight for this data set and the nearest noise level."""
        return {"num_noises": 1, "weight": by_sigma(WEIGHTS[family(dataset)], sigma)}

    def loss(
        self,
        network: nn.Module,
        images_BCHW: Tensor,
        labels_B: Tensor,
        moment: TrainingProgress,
        generator: torch.Generator | None,
    ) -> Tensor:
        """See Method.loss."""
        noisy = repeat_with_noise(images_BCHW, self.num_noises, self.sigma, generator)
        clean_1BK = log_probabilities(network, images_BCHW, 1)
        noisy_mBK = log_probabilities(network, noisy, self.num_noises)
        return stability_loss(clean_1BK, noisy_mBK, labels_B, self.weight)


def stability_loss(clean: Tensor, noisy: Tensor, labels_B: Tensor, weight: float) -> Tensor:
    """The loss from log probabilities of the clean images (1, B, K) and of their noisy copies (m, B, K)."""
    return mean_cross_entropy(clean, labels_B) + weight * cross_entropy(clean, noisy).mean()
