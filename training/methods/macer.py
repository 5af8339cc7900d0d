"""MACER, which maximizes the certified radius: Zhai et al., ICLR 2020."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.datasets import defaults_family
from training.methods.base import (
    Method,
    TrainingProgress,
    log_mean,
    log_probabilities,
    nearest_sigma,
    repeat_with_noise,
    require_at_least,
    require_positive,
)

WEIGHTS = {
    "mnist": {0.25: 16.0, 0.5: 16.0, 1.0: 6.0},
    "cifar10": {0.5: 12.0},
    "imagenet": {0.5: 12.0},  # not published: CIFAR-10's
}
DEFERRED = {
    "mnist": {0.5: True},
    "cifar10": {0.25: False, 0.5: False, 1.0: True},
    "imagenet": {0.5: False},
}
PROBABILITY_CLAMP = 1e-7  # Phi^-1 = -5.2: two classes at the clamps differ by more than any gamma in use


@dataclass(frozen=True)
class Macer(Method):
    """CE(F_hat, y) + weight * (sigma/2) * mean of hinge(gamma - (Phi^-1(p1) - Phi^-1(p2))).

    p1, p2: the two largest entries of the mean softmax of the logits scaled by beta. Images that it
    misclassifies add 0 to the second mean.
    """

    num_noises: int = field(default=16, metadata={"help": "noises per image in one step (k)"})
    weight: float = field(default=16.0, metadata={"help": "weight of the robust term (lambda)"})
    gamma: float = field(default=8.0, metadata={"help": "margin at which the robust term ends, in sigma/2"})
    beta: float = field(default=16.0, metadata={"help": "factor on the logits of the robust term"})
    deferred: bool = field(
        default=True, metadata={"help": "leave the robust term out until the learning rate first drops"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(gamma=self.gamma, beta=self.beta)
        require_at_least(0, weight=self.weight)

    @property
    def chunks(self) -> int:
        """1, as published: a whole batch is one step. On few images the robust term's gradient is noisy."""
        return 1

    @classmethod
    def defaults(cls, dataset: str, sigma: float, **given: Any) -> dict[str, Any]:
        """The published options for this data set and the nearest noise level."""
        weight = nearest_sigma(WEIGHTS[defaults_family(dataset)], sigma)
        deferred = nearest_sigma(DEFERRED[defaults_family(dataset)], sigma)
        return {"num_noises": 16, "weight": weight, "gamma": 8.0, "beta": 16.0, "deferred": deferred}

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
        log_probs_mBK = log_probabilities(network, noisy_NCHW, self.num_noises)
        natural = functional.nll_loss(log_mean(log_probs_mBK), labels_B)
        robust = robust_loss(log_probs_mBK, labels_B, self.beta, self.gamma)
        weight = self.weight * self.sigma / 2 * self.robust_switch(progress)
        return natural + weight.to(robust.dtype) * robust

    def robust_switch(self, progress: TrainingProgress) -> Tensor:
        """1 where the robust term counts, else 0: a scalar."""
        if not self.deferred:
            return torch.ones_like(progress.epoch)
        return (progress.epoch >= progress.first_drop) * 1.0


def robust_loss(log_probs_mBK: Tensor, labels_B: Tensor, beta: float, gamma: float) -> Tensor:
    """Mean over images of the hinge on the certified radius in units of sigma/2: a scalar.

    Misclassified images count as 0. Log probabilities replace logits: they differ by a constant per input,
    which the softmax ignores.
    """
    probs_BK = functional.softmax(beta * log_probs_mBK, dim=-1).mean(0)
    top_B, runner_up_B = probs_BK.topk(2, dim=-1).values.unbind(-1)
    gap_B = clamped_quantile(top_B) - clamped_quantile(runner_up_B)
    correct_B = probs_BK.argmax(-1) == labels_B
    # torch.where passes the gradient of both branches: the clamp keeps the unused one free of NaN.
    return torch.where(correct_B, functional.relu(gamma - gap_B), 0.0).mean()


def clamped_quantile(probabilities: Tensor) -> Tensor:
    """Phi^-1 elementwise. Finite; beyond the clamps its gradient is 0."""
    clamped = probabilities.clamp(PROBABILITY_CLAMP, 1 - PROBABILITY_CLAMP)
    quantiles: Tensor = torch.special.ndtri(clamped)
    return quantiles
