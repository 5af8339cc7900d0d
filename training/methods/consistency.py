"""Consistency regularization, alone or with SmoothAdv: Jeong & Shin, NeurIPS 2020.

The regularizer has five forms, of the paper and its code. Each maps log F_i (m, B, K) and two weights
(lambda, eta) to a scalar, the mean over images. Gradients flow through F_hat.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.datasets import defaults_family
from training.methods.base import (
    Method,
    TrainingProgress,
    cross_entropy,
    entropy,
    log_mean,
    log_probabilities,
    mean_cross_entropy,
    nearest_sigma,
    repeat_with_noise,
    require_at_least,
    require_one_of,
)
from training.methods.smoothadv import SmoothAdv

Form = Callable[[Tensor, float, float], Tensor]


def mean_kl(log_mean_BK: Tensor, log_probs_mBK: Tensor) -> Tensor:
    """mean_i KL(F_hat || F_i) of every image: (B,)."""
    return cross_entropy(log_mean_BK, log_probs_mBK.mean(0) - log_mean_BK)


def xent(log_probs_mBK: Tensor, weight: float, entropy_weight: float) -> Tensor:
    """Equation (7) as printed: lambda * mean_i CE(F_hat, F_i). eta is unused."""
    return weight * cross_entropy(log_mean(log_probs_mBK), log_probs_mBK).mean()


def kl_entropy(log_probs_mBK: Tensor, weight: float, entropy_weight: float) -> Tensor:
    """The authors' corrected code: lambda * mean_i KL(F_hat || F_i) + eta * H(F_hat)."""
    log_mean_BK = log_mean(log_probs_mBK)
    return (weight * mean_kl(log_mean_BK, log_probs_mBK) + entropy_weight * entropy(log_mean_BK)).mean()


def legacy(log_probs_mBK: Tensor, weight: float, entropy_weight: float) -> Tensor:
    """The code behind the printed tables, with a double softmax:
    lambda * (mean_i KL(F_hat || F_i) + H(softmax(F_hat))). eta is unused."""
    log_mean_BK = log_mean(log_probs_mBK)
    softmax_twice_BK = functional.log_softmax(log_mean_BK.exp(), dim=-1)
    return weight * (mean_kl(log_mean_BK, log_probs_mBK) + entropy(softmax_twice_BK)).mean()


def kl(log_probs_mBK: Tensor, weight: float, entropy_weight: float) -> Tensor:
    """lambda * mean_i KL(F_hat || F_i). eta is unused."""
    return weight * mean_kl(log_mean(log_probs_mBK), log_probs_mBK).mean()


def mse(log_probs_mBK: Tensor, weight: float, entropy_weight: float) -> Tensor:
    """Equation (14): lambda * ||F_1 - F_2||^2; for m > 2 the mean over pairs of noises. eta is unused."""
    probs_mBK = log_probs_mBK.exp()
    squares_B = (probs_mBK - probs_mBK.mean(0)).square().sum((0, -1))
    return weight * (2 / (len(probs_mBK) - 1)) * squares_B.mean()  # sum over pairs = m * sum around the mean


DEFAULT_FORM = "kl_entropy"  # the only form that uses eta
FORMS: dict[str, Form] = {
    "kl_entropy": kl_entropy,
    "xent": xent,
    "legacy": legacy,
    "kl": kl,
    "mse": mse,
}
WEIGHTS = {  # of kl_entropy; kl and mse have none published and take the same
    "mnist": {0.25: 10.0, 0.5: 5.0, 1.0: 5.0},
    "cifar10": {0.25: 20.0, 0.5: 10.0, 1.0: 10.0},
    "imagenet": {0.5: 5.0, 1.0: 5.0},
}
LEGACY_WEIGHTS = {"mnist": 20.0, "cifar10": 20.0, "imagenet": 10.0}
XENT_WEIGHT = 3.0
SMOOTHADV_DEFAULTS: dict[str, dict[float, dict[str, Any]]] = {
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


def default_weight(form: str, dataset: str, sigma: float) -> float:
    """The published lambda for this form, data set and the nearest noise level."""
    if form == "legacy":
        return LEGACY_WEIGHTS[defaults_family(dataset)]
    return XENT_WEIGHT if form == "xent" else nearest_sigma(WEIGHTS[defaults_family(dataset)], sigma)


def default_entropy_weight(dataset: str, sigma: float) -> float:
    """The published eta: 0.5, but 0.1 on ImageNet at sigma = 1."""
    return nearest_sigma({0.5: 0.5, 1.0: 0.1}, sigma) if defaults_family(dataset) == "imagenet" else 0.5


class RegularizedMethod(Method):
    """A method with one form of the regularizer, whose options a subclass declares as fields."""

    weight: float
    entropy_weight: float
    form: str

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(2, "one noise has nothing to be consistent with", num_noises=self.num_noises)
        require_at_least(0, weight=self.weight, entropy_weight=self.entropy_weight)
        require_one_of(FORMS, form=self.form)

    @property
    def unused_options(self) -> frozenset[str]:
        return frozenset() if self.form == DEFAULT_FORM else frozenset({"entropy_weight"})

    def regularized(self, log_probs_mBK: Tensor, labels_B: Tensor) -> Tensor:
        """Mean cross-entropy over the m copies, plus the regularizer."""
        regularizer = FORMS[self.form](log_probs_mBK, self.weight, self.entropy_weight)
        return mean_cross_entropy(log_probs_mBK, labels_B) + regularizer


@dataclass(frozen=True)
class Consistency(RegularizedMethod):
    """mean_i CE(F_i, y) + one form of the regularizer, over m >= 2 noises."""

    num_noises: int = field(default=2, metadata={"help": "noises per image in one step (m), at least 2"})
    weight: float = field(default=5.0, metadata={"help": "weight of the regularizer (lambda)"})
    entropy_weight: float = field(default=0.5, metadata={"help": "weight of H(F_hat) in kl_entropy (eta)"})
    form: str = field(default=DEFAULT_FORM, metadata={"help": "one of " + ", ".join(FORMS)})

    @classmethod
    def defaults(cls, dataset: str, sigma: float, **given: Any) -> dict[str, Any]:
        """The published options for this data set, the nearest noise level and the form in `given`."""
        form = given.get("form", DEFAULT_FORM)
        return {
            "num_noises": 2,
            "weight": default_weight(form, dataset, sigma),
            "entropy_weight": default_entropy_weight(dataset, sigma),
            "form": form,
        }

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
        return self.regularized(log_probabilities(network, noisy_NCHW, self.num_noises), labels_B)


@dataclass(frozen=True)
class SmoothAdvConsistency(SmoothAdv, RegularizedMethod):
    """SmoothAdv's loss + one form of the regularizer over the m >= 2 attacked copies."""

    weight: float = field(default=1.0, metadata={"help": "weight of the regularizer (lambda)"})
    entropy_weight: float = field(default=0.5, metadata={"help": "weight of H(F_hat) in kl_entropy (eta)"})
    form: str = field(default=DEFAULT_FORM, metadata={"help": "one of " + ", ".join(FORMS)})

    @classmethod
    def defaults(cls, dataset: str, sigma: float, **given: Any) -> dict[str, Any]:
        """The published options for this data set and the nearest noise level."""
        options = nearest_sigma(SMOOTHADV_DEFAULTS[defaults_family(dataset)], sigma)
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
