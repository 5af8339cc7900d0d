"""Adversarial training of the smoothed classifier: Salman et al., NeurIPS 2019."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from training.methods.attack import ATTACKS, Target, shift, under_attack
from training.methods.base import TrainingProgress, repeat_with_noise
from training.methods.checks import by_sigma, family, need_at_least, need_one_of, need_positive
from training.methods.probabilities import log_probabilities, mean_cross_entropy

EPSILON_UNIT = 1 / 256  # the field names eps in 255ths and divides it by 256

Settings = dict[str, Any]
DEFAULTS: dict[str, dict[float, Settings]] = {
    "mnist": {0.5: {"num_noises": 4, "steps": 10, "epsilon": 255.0}},
    "cifar10": {  # the best published per noise level
        0.25: {"num_noises": 4, "steps": 10, "epsilon": 255.0},
        0.5: {"num_noises": 2, "steps": 10, "epsilon": 512.0},
        1.0: {"num_noises": 4, "steps": 2, "epsilon": 512.0},
    },
    "imagenet": {
        0.5: {"num_noises": 1, "steps": 1, "epsilon": 255.0},
        1.0: {"num_noises": 1, "steps": 1, "epsilon": 512.0},
    },
}


@dataclass(frozen=True)
class SmoothAdv:
    """The Gaussian loss on images moved against the smoothed classifier, over the same m noises.

    Raises InvalidRequest on an option out of range.
    """

    sigma: float = field(metadata={"help": "noise level, in units of pixels in [0,1]"})
    num_noises: int = field(default=4, metadata={"help": "noises per image in one step (m)"})
    steps: int = field(default=10, metadata={"help": "steps of the attack (T)"})
    epsilon: float = field(
        default=255.0, metadata={"help": "largest l2 norm of the attack, named in 255ths (divided by 256)"}
    )
    warmup: int = field(default=10, metadata={"help": "epochs over which epsilon grows to its full size"})
    attack: str = field(default="pgd", metadata={"help": "one of " + ", ".join(ATTACKS)})

    def __post_init__(self) -> None:
        need_positive(sigma=self.sigma, epsilon=self.epsilon)
        need_at_least(1, num_noises=self.num_noises, steps=self.steps)
        need_at_least(0, warmup=self.warmup)
        need_one_of(ATTACKS, attack=self.attack)

    @property
    def chunks(self) -> int:
        """One optimizer step for each noise of a batch; see Method."""
        return self.num_noises

    @classmethod
    def defaults(cls, dataset: str, sigma: float, **given: Any) -> dict[str, Any]:
        """The published numbers for this data set and the nearest noise level."""
        return {**by_sigma(DEFAULTS[family(dataset)], sigma), "warmup": 10, "attack": "pgd"}

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
        adversarial = self.adversarial(network, images_BCHW, noisy, labels_B, moment)
        return mean_cross_entropy(log_probabilities(network, adversarial, self.num_noises), labels_B)

    def adversarial(
        self,
        network: nn.Module,
        images_BCHW: Tensor,
        noisy_NCHW: Tensor,
        labels_B: Tensor,
        moment: TrainingProgress,
    ) -> Tensor:
        """The noisy copies, shape (m*B, C, H, W), moved by their images' perturbations, without gradient."""
        with under_attack(network) as still:
            target = Target(still, images_BCHW, noisy_NCHW, labels_B)
            eta_BCHW = ATTACKS[self.attack](target, self.radius(moment), self.steps)
        return shift(noisy_NCHW, eta_BCHW).detach()

    def radius(self, moment: TrainingProgress) -> Tensor:
        """eps of this epoch in [0,1] pixels, a scalar: the first has 1/warmup of it, as published."""
        full = self.epsilon * EPSILON_UNIT
        return full * ((moment.epoch.floor() + 1) / max(self.warmup, 1)).clamp_max(1)
