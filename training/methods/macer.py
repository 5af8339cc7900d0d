"""MACER, which maximizes the certified radius itself: Zhai et al., ICLR 2020."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.methods.base import TrainingProgress, repeat_with_noise
from training.methods.checks import by_sigma, family, need_at_least, need_positive
from training.methods.probabilities import log_mean, log_probabilities

WEIGHTS = {
    "mnist": {0.25: 16.0, 0.5: 16.0, 1.0: 6.0},
    "cifar10": {0.5: 12.0},
    "imagenet": {0.5: 12.0},  # none published with these steps: as CIFAR-10
}
DEFERRED = {
    "mnist": {0.5: True},
    "cifar10": {0.25: False, 0.5: False, 1.0: True},
    "imagenet": {0.5: False},
}
SMALLEST_SHARE = 1e-7  # Phi^-1 = -5.2: two classes at the clamps are further apart than any gamma in use


@dataclass(frozen=True)
class Macer:
    """CE(F_hat, y) + weight * (sigma/2) * hinge(gamma - (Phi^-1(p1) - Phi^-1(p2))) where F_hat_beta is right.

    p1 and p2 are the two largest entries of F_hat_beta, the mean softmax of the beta-scaled logits; images
    where it is wrong add 0 to the second mean. Raises InvalidRequest on an option out of range.
    """

    sigma: float = field(metadata={"help": "noise level, in units of pixels in [0,1]"})
    num_noises: int = field(default=16, metadata={"help": "noises per image in one step (k)"})
    weight: float = field(default=16.0, metadata={"help": "weight of the robust term (lambda)"})
    gamma: float = field(default=8.0, metadata={"help": "margin at which the robust term ends, in sigma/2"})
    beta: float = field(default=16.0, metadata={"help": "factor on the logits of the robust term"})
    deferred: bool = field(
        default=True, metadata={"help": "leave the robust term out until the learning rate first drops"}
    )

    def __post_init__(self) -> None:
        need_positive(sigma=self.sigma, gamma=self.gamma, beta=self.beta)
        need_at_least(1, num_noises=self.num_noises)
        need_at_least(0, weight=self.weight)

    @property
    def chunks(self) -> int:
        """A whole batch is one step, as published: on few images the robust term's gradient is very noisy."""
        return 1

    @classmethod
    def defaults(cls, dataset: str, sigma: float, **given: Any) -> dict[str, Any]:
        """The published numbers for this data set and the nearest noise level."""
        weight = by_sigma(WEIGHTS[family(dataset)], sigma)
        deferred = by_sigma(DEFERRED[family(dataset)], sigma)
        return {"num_noises": 16, "weight": weight, "gamma": 8.0, "beta": 16.0, "deferred": deferred}

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
        log_probs_mBK = log_probabilities(network, noisy, self.num_noises)
        natural = functional.nll_loss(log_mean(log_probs_mBK), labels_B)
        robust = robust_loss(log_probs_mBK, labels_B, self.beta, self.gamma)
        weight = self.weight * self.sigma / 2 * self.switch(moment)
        return natural + weight.to(robust.dtype) * robust

    def switch(self, moment: TrainingProgress) -> Tensor:
        """1 once the robust term counts, 0 before: a scalar."""
        return (
            torch.ones_like(moment.epoch) if not self.deferred else (moment.epoch >= moment.first_drop) * 1.0
        )


def robust_loss(log_probs_mBK: Tensor, labels_B: Tensor, beta: float, gamma: float) -> Tensor:
    """Mean over images of the hinge on the certified radius in units of sigma/2, 0 where the class is wrong.

    A scalar. Log probabilities serve as logits, from which they differ by a constant per input.
    """
    shares_BK = functional.softmax(beta * log_probs_mBK, dim=-1).mean(0)
    top, runner_up = shares_BK.topk(2, dim=-1).values.unbind(-1)
    gap_B = clamped_quantile(top) - clamped_quantile(runner_up)
    correct_B = shares_BK.argmax(-1) == labels_B
    # The clamp keeps the branch not taken finite, so no NaN leaks back through the mask.
    return torch.where(correct_B, functional.relu(gamma - gap_B), 0.0).mean()


def clamped_quantile(shares: Tensor) -> Tensor:
    """Phi^-1 of each share, in their shape: finite, with a gradient that is 0 beyond the clamps."""
    quantiles: Tensor = torch.special.ndtri(shares.clamp(SMALLEST_SHARE, 1 - SMALLEST_SHARE))
    return quantiles
