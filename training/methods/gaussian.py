"""Gaussian augmentation: Cohen, Rosenfeld & Kolter, ICML 2019."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from training.methods.base import TrainingProgress, repeat_with_noise
from training.methods.checks import need_at_least, need_positive
from training.methods.probabilities import log_probabilities, mean_cross_entropy


@dataclass(frozen=True)
class Gaussian:
    """mean_i CE(F_i, y). Raises InvalidRequest on an option out of range."""

    sigma: float = field(metadata={"help": "noise level, in units of pixels in [0,1]"})
    num_noises: int = field(default=1, metadata={"help": "noises per image in one step (m)"})

    def __post_init__(self) -> None:
        need_positive(sigma=self.sigma)
        need_at_least(1, num_noises=self.num_noises)

    @property
    def chunks(self) -> int:
        """One optimizer step for each noise of a batch; see Method."""
        return self.num_noises

    @classmethod
    def defaults(cls, dataset: str, sigma: float, **given: Any) -> dict[str, Any]:
        """One noise an image, on every data set."""
        return {"num_noises": 1}

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
        return mean_cross_entropy(log_probabilities(network, noisy, self.num_noises), labels_B)
