"""SmoothAdv, adversarial training of the smoothed classifier: Salman et al., NeurIPS 2019.

The attacks maximize -log mean_i F_i(x + delta_i + eta)_y over eta with ||eta||_2 <= radius, for fixed noises
delta_i. eta_BCHW is shared by an image's m noises; norms are l2 with pixels in [0,1]. PGD: Salman et al.;
DDN: Rony et al., CVPR 2019. Neither branches on tensor values, so both fit a CUDA graph.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

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
    require_one_of,
    require_positive,
    warmed_up,
)

EPSILON_UNIT = 1 / 256  # published values are in 255ths but the published code divides by 256
DDN_RADIUS_CHANGE = 0.05  # gamma: relative change of the radius per step
DDN_LAST_STEP = 0.01  # step length at the end; 1 at the start
DEFAULTS: dict[str, dict[float, dict[str, Any]]] = {
    "mnist": {0.5: {"num_noises": 4, "steps": 10, "epsilon": 255.0}},
    "cifar10": {  # the best published at each noise level
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
class AttackProblem:
    """The loss to maximize.

    images_BCHW: in [0,1]. noisy_NCHW: images + noise, N = m*B, copies of noise i contiguous.
    """

    network: nn.Module
    images_BCHW: Tensor
    noisy_NCHW: Tensor
    labels_B: Tensor

    def log_probs(self, eta_BCHW: Tensor) -> Tensor:
        """log mean_i F_i(x + delta_i + eta): (B, K)."""
        num_noises = len(self.noisy_NCHW) // len(self.images_BCHW)
        moved_NCHW = add_perturbation(self.noisy_NCHW, eta_BCHW)
        return log_mean(log_probabilities(self.network, moved_NCHW, num_noises))

    def ascent_direction(self, eta_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """The loss's gradient at eta, scaled to norm 1 per image (0 stays 0), and log_probs(eta)."""
        eta_BCHW = eta_BCHW.detach().requires_grad_()
        log_probs_BK = self.log_probs(eta_BCHW)
        loss = functional.nll_loss(log_probs_BK, self.labels_B, reduction="sum")
        (gradient_BCHW,) = torch.autograd.grad(loss, eta_BCHW)
        tiny = torch.finfo(gradient_BCHW.dtype).tiny
        return gradient_BCHW / l2_norms(gradient_BCHW).clamp_min(tiny), log_probs_BK.detach()

    def project(self, eta_BCHW: Tensor, radius: Tensor) -> Tensor:
        """eta clipped so that x + eta is in [0,1], then shortened to the radius."""
        in_box_BCHW = (self.images_BCHW + eta_BCHW).clamp(0, 1) - self.images_BCHW
        return in_box_BCHW * (radius / l2_norms(in_box_BCHW).clamp_min(1e-12)).clamp_max(1)


Attack = Callable[[AttackProblem, Tensor, int], Tensor]


def l2_norms(batch_BCHW: Tensor) -> Tensor:
    """l2 norm of every image: (B, 1, 1, 1)."""
    lengths: Tensor = torch.linalg.vector_norm(batch_BCHW, dim=(1, 2, 3), keepdim=True)
    return lengths


def add_perturbation(noisy_NCHW: Tensor, eta_BCHW: Tensor) -> Tensor:
    """Each image's eta added to all its noisy copies: (m*B, C, H, W)."""
    return noisy_NCHW + eta_BCHW.repeat(len(noisy_NCHW) // len(eta_BCHW), 1, 1, 1)


def pgd(problem: AttackProblem, radius: Tensor, steps: int) -> Tensor:
    """Projected gradient ascent from 0 with step length 2 radius/steps. Returns eta_BCHW."""
    eta_BCHW = torch.zeros_like(problem.images_BCHW)
    for _ in range(steps):
        direction_BCHW, _ = problem.ascent_direction(eta_BCHW)
        eta_BCHW = problem.project(eta_BCHW + (2 * radius / steps) * direction_BCHW, radius)
    return eta_BCHW


def ddn(problem: AttackProblem, radius: Tensor, steps: int) -> Tensor:
    """Decoupled direction and norm. Returns eta_BCHW.

    Its norm shrinks after success and grows after failure, starting at `radius`. The result is the shortest
    eta found that changes the smoothed classifier's answer, else the last one (the published code returns 0
    there); both are cut to `radius`.
    """
    eta_BCHW = torch.zeros_like(problem.images_BCHW)
    best_BCHW, best_norm = eta_BCHW, torch.full_like(l2_norms(eta_BCHW), torch.inf)
    length = torch.zeros_like(best_norm) + radius
    for step in range(steps):
        direction_BCHW, log_probs_BK = problem.ascent_direction(eta_BCHW)
        fooled = (log_probs_BK.argmax(1) != problem.labels_B).view(-1, 1, 1, 1)
        better = fooled & (l2_norms(eta_BCHW) < best_norm)
        best_BCHW = torch.where(better, eta_BCHW, best_BCHW)
        best_norm = torch.where(better, l2_norms(eta_BCHW), best_norm)
        length = length * torch.where(fooled, 1 - DDN_RADIUS_CHANGE, 1 + DDN_RADIUS_CHANGE)
        moved_BCHW = eta_BCHW + cosine_step(step, steps) * direction_BCHW
        eta_BCHW = problem.project(moved_BCHW * length / l2_norms(moved_BCHW).clamp_min(1e-12), length)
    return problem.project(torch.where(best_norm.isfinite(), best_BCHW, eta_BCHW), radius)


def cosine_step(step: int, steps: int) -> float:
    """Length of a DDN step: half a cosine from 1 towards DDN_LAST_STEP."""
    share = 0.5 * (1 + math.cos(math.pi * step / steps))
    return DDN_LAST_STEP + (1 - DDN_LAST_STEP) * share


ATTACKS: dict[str, Attack] = {"pgd": pgd, "ddn": ddn}


@contextmanager
def frozen_for_attack(network: nn.Module) -> Iterator[nn.Module]:
    """The network in eval mode with frozen parameters; both are restored at the end.

    Batch norm neither uses nor updates the statistics of these batches. A DistributedDataParallel wrapper is
    removed, as it would count these passes as training steps.
    """
    inner: nn.Module = network.module if isinstance(network, DistributedDataParallel) else network
    modes = [(module, module.training) for module in inner.modules()]
    trainable = [parameter for parameter in inner.parameters() if parameter.requires_grad]
    inner.eval().requires_grad_(False)
    try:
        yield inner
    finally:
        for module, training in modes:
            module.training = training
        for parameter in trainable:
            parameter.requires_grad_(True)


@dataclass(frozen=True)
class SmoothAdv(Method):
    """mean_i CE(F_i, y) on images attacked under the same m noises."""

    num_noises: int = field(default=4, metadata={"help": "noises per image in one step (m)"})
    steps: int = field(default=10, metadata={"help": "steps of the attack (T)"})
    epsilon: float = field(
        default=255.0, metadata={"help": "largest l2 norm of the attack, named in 255ths (divided by 256)"}
    )
    warmup: int = field(default=10, metadata={"help": "epochs over which epsilon grows to its full size"})
    attack: str = field(default="pgd", metadata={"help": "one of " + ", ".join(ATTACKS)})

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(epsilon=self.epsilon)
        require_at_least(1, steps=self.steps)
        require_at_least(0, warmup=self.warmup)
        require_one_of(ATTACKS, attack=self.attack)

    @classmethod
    def defaults(cls, dataset: str, sigma: float, **given: Any) -> dict[str, Any]:
        """The published options for this data set and the nearest noise level."""
        options = nearest_sigma(DEFAULTS[defaults_family(dataset)], sigma)
        return {**options, "warmup": 10, "attack": "pgd"}

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
        return mean_cross_entropy(log_probabilities(network, attacked_NCHW, self.num_noises), labels_B)

    def attacked(
        self,
        network: nn.Module,
        images_BCHW: Tensor,
        noisy_NCHW: Tensor,
        labels_B: Tensor,
        progress: TrainingProgress,
    ) -> Tensor:
        """The noisy copies plus their images' perturbations, without gradient: (m*B, C, H, W)."""
        with frozen_for_attack(network) as frozen:
            problem = AttackProblem(frozen, images_BCHW, noisy_NCHW, labels_B)
            eta_BCHW = ATTACKS[self.attack](problem, self.radius(progress), self.steps)
        return add_perturbation(noisy_NCHW, eta_BCHW).detach()

    def radius(self, progress: TrainingProgress) -> Tensor:
        """epsilon of this epoch, pixels in [0,1]: a scalar. The first epoch has 1/warmup of it."""
        return self.epsilon * EPSILON_UNIT * warmed_up(progress, self.warmup)
