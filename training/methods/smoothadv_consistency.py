"""SmoothAdv with the consistency regularizer on its attacked copies: Jeong & Shin, NeurIPS 2020."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from training.datasets import defaults_family
from training.methods.base import (
    TrainingProgress,
    log_probabilities,
    nearest_sigma,
    repeat_with_noise,
)
from training.methods.consistency import DEFAULT_FORM, FORMS, RegularizedMethod
from training.methods.smoothadv import SmoothAdv

DEFAULTS: dict[str, dict[float, dict[str, Any]]] = {
    "mnist": {0.5: {"num_noises": 4, "steps": 10, "epsilon": 255.0, "weight": 1.0}},
    "cifar10": {
        0.25: {"num_noises": 4, "steps": 10, "epsilon": 255.0, "weight": 2.0},
        0.5: {"num_noises": 2, "steps": 10, "epsilon": 512.0, "weight": 1.0},
        1.0: {"num_noises": 2, "steps": 10, "epsilon": 512.0, "weight": 1.0},
    },
    "imagenet": {  # not published: SmoothAdv's attack there with the fewest noises
        0.5: {"num_noises": 2, "steps": 1, "epsilon": 255.0, "weight": 1.0},
        1.0: {"num_noises": 2, "steps": 1, "epsilon": 512.0, "weight": 1.0},
    },
}


@dataclass(frozen=True)
class SmoothAdvConsistency(SmoothAdv, RegularizedMethod):
    """SmoothAdv's loss + one form of the regularizer over the m >= 2 attacked copies."""

    weight: float = field(default=1.0, metadata={"help": "weight of the regularizer (lambda)"})
    entropy_weight: float = field(default=0.5, metadata={"help": "weight of H(F_hat) in kl_entropy (eta)"})
    form: str = field(default=DEFAULT_FORM, metadata={"help": "one of " + ", ".join(FORMS)})

    @classmethod
    def defaults(cls, dataset: str, sigma: float, **given: Any) -> dict[str, Any]:
        """The published options for this data set and the nearest noise level."""
        options = nearest_sigma(DEFAULTS[defaults_family(dataset)], sigma)
        return {**options, "warmup": 10, "attack": "pgd", "entropy_weight": 0.5, "form": DEFAULT_FORM}

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
        attacked_NCHW = self.attacked(network, images_BCHW, noisy_NCHW, labels_B, progress)
        return self.regularized(log_probabilities(network, attacked_NCHW, self.num_noises), labels_B)
