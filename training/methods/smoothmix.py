"""SmoothMix: Jeong, Park, Kim, Lee, Kim & Shin, NeurIPS 2021.

The smoothed classifier is attacked without a norm constraint. On the line from an image to the attacked one
it learns to be less and less certain: at the share u of the way, its target is (1 - u) F_hat + u/K.
"""

import math
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
    mean_cross_entropy,
    nearest_sigma,
    repeat_with_noise,
    require_at_least,
    require_positive,
    warmed_up,
)
from training.methods.consistency import mean_kl
from training.methods.smoothadv import AttackProblem, add_perturbation, frozen_for_attack, l2_norms

LEAST_LOG_PROBABILITY = math.log(1e-20)  # of the attacked class; below it the attack has no gradient
NORM_OFFSET = 1e-8  # added to a gradient's norm: where the answer is certain, steps are shorter
LARGEST_SHARE = 0.5  # u is uniform in [0, 1/2)
DEFAULTS: dict[str, dict[float, dict[str, Any]]] = {
    "mnist": {
        0.25: {"num_noises": 4, "steps": 2, "step_size": 1.0},
        0.5: {"num_noises": 4, "steps": 4, "step_size": 1.0},
        1.0: {"num_noises": 4, "steps": 8, "step_size": 1.0},
    },
    "cifar10": {
        0.25: {"num_noises": 2, "steps": 4, "step_size": 0.5},
        0.5: {"num_noises": 2, "steps": 4, "step_size": 1.0, "one_step_adversary": True},
        1.0: {"num_noises": 2, "steps": 4, "step_size": 2.0, "one_step_adversary": True},
    },
    "imagenet": {  # not published by the sources at hand: CIFAR-10's reach in one step
        0.25: {"num_noises": 2, "steps": 1, "step_size": 2.0},
        0.5: {"num_noises": 2, "steps": 1, "step_size": 4.0},
        1.0: {"num_noises": 2, "steps": 1, "step_size": 8.0},
    },
}
WEIGHT = 5.0
STEPS_AT_WEIGHT_1 = {0.25: 3, 0.5: 4, 1.0: 8}  # of MNIST, as published for eta = 1


@dataclass(frozen=True)
class SmoothMix(Method):
    """mean_i CE(F_i, y) + weight * w * mean_i 1[argmax F_hat = y] KL(y_mix || F(x_mix + delta_i)).

    x_mix = (1 - u) x + u x_attacked and y_mix = (1 - u) F_hat + u/K, under the same m noises as F_hat.
    w grows to 1 over the warm-up.
    """

    steps: int = field(default=4, metadata={"help": "steps of the attack (T)"})
    step_size: float = field(default=1.0, metadata={"help": "length of one step (alpha)"})
    weight: float = field(default=WEIGHT, metadata={"help": "weight of the mixed images (eta)"})
    warmup: int = field(default=10, metadata={"help": "epochs over which the weight grows to its full size"})
    one_step_adversary: bool = field(
        default=False,
        metadata={"help": "train on the attack's first step, cut to alpha, instead of the image itself"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(step_size=self.step_size)
        require_at_least(1, steps=self.steps)
        require_at_least(0, weight=self.weight, warmup=self.warmup)

    @classmethod
    def defaults(cls, dataset: str, sigma: float, **given: Any) -> dict[str, Any]:
        """The published options for this data set and the nearest noise level; of MNIST also for weight 1."""
        family = defaults_family(dataset)
        options = {"weight": WEIGHT, "warmup": 10, "one_step_adversary": False}
        options |= nearest_sigma(DEFAULTS[family], sigma)
        if family == "mnist" and given.get("weight") == 1:
            options["steps"] = nearest_sigma(STEPS_AT_WEIGHT_1, sigma)
        return options

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
        share_B111 = LARGEST_SHARE * torch.rand(
            (len(images_BCHW), 1, 1, 1),
            generator=generator,
            device=images_BCHW.device,
            dtype=images_BCHW.dtype,
        )
        strength = warmed_up(progress, self.warmup)
        clean_BCHW, attacked_BCHW = self.attack(network, images_BCHW, noisy_NCHW, labels_B, strength)
        mixed_BCHW = torch.lerp(clean_BCHW, attacked_BCHW, share_B111)
        clean_NCHW, mixed_NCHW = (add_perturbation(noisy_NCHW, eta) for eta in (clean_BCHW, mixed_BCHW))
        clean_mBK = log_probabilities(network, clean_NCHW, self.num_noises)
        mixed_mBK = log_probabilities(network, mixed_NCHW, self.num_noises)
        mixed_B = mixing_loss(clean_mBK, mixed_mBK, labels_B, share_B111.flatten(1))
        return mean_cross_entropy(clean_mBK, labels_B) + self.weight * strength * mixed_B.mean()

    def attack(
        self, network: nn.Module, images_BCHW: Tensor, noisy_NCHW: Tensor, labels_B: Tensor, strength: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Perturbations (B, C, H, W) of the clean side and of the attacked one, without gradient."""
        with frozen_for_attack(network) as frozen:
            problem = AttackProblem(frozen, images_BCHW, noisy_NCHW, labels_B)
            path = [torch.zeros_like(images_BCHW)]
            for _ in range(self.steps):
                path.append(ascend(problem, path[-1], self.step_size))
        start_BCHW = path[0]
        if self.one_step_adversary:
            length = l2_norms(path[1]).clamp_min(torch.finfo(start_BCHW.dtype).tiny)
            start_BCHW = path[1] * (self.step_size * strength / length).clamp_max(1)
        return start_BCHW.detach(), path[-1].detach()


def ascend(problem: AttackProblem, eta_BCHW: Tensor, step_size: float) -> Tensor:
    """One step along the gradient of -log F_hat_y, cut only so that the image stays in [0,1]."""
    eta_BCHW = eta_BCHW.detach().requires_grad_()
    log_probs_BK = problem.log_probs(eta_BCHW).clamp_min(LEAST_LOG_PROBABILITY)
    loss = functional.nll_loss(log_probs_BK, problem.labels_B, reduction="sum")
    (gradient_BCHW,) = torch.autograd.grad(loss, eta_BCHW)
    direction_BCHW = gradient_BCHW / (l2_norms(gradient_BCHW) + NORM_OFFSET)
    moved_BCHW = problem.images_BCHW + eta_BCHW.detach() + step_size * direction_BCHW
    return moved_BCHW.clamp(0, 1) - problem.images_BCHW


def mixing_loss(clean_mBK: Tensor, mixed_mBK: Tensor, labels_B: Tensor, share_B1: Tensor) -> Tensor:
    """1[argmax F_hat = y] mean_i KL(y_mix || F_i(x_mix)) of every image: (B,).

    clean_mBK, mixed_mBK: log probabilities. share_B1: u. The gradient flows through y_mix too.
    """
    log_mean_BK = log_mean(clean_mBK)
    uniform_B1 = share_B1.log() - math.log(clean_mBK.shape[-1])
    target_BK = torch.logaddexp(torch.log1p(-share_B1) + log_mean_BK, uniform_B1)
    right_B = log_mean_BK.argmax(-1) == labels_B
    return right_B * mean_kl(target_BK, mixed_mBK)
