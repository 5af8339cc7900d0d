"""l2 attacks on the smoothed classifier, through noises that are drawn once and held fixed.

Both attacks climb -log mean_i F_i(x + delta_i + eta)_y: PGD with steps of 2 eps/T (Salman et al., NeurIPS
2019), DDN with a radius that shrinks on success and grows on failure (Rony et al., CVPR 2019). They have no
branch on tensor values, so that a CUDA graph can hold them.

Legend: eta is the perturbation, shape (B, C, H, W), shared by an image's m noises; norms are l2, with
pixels in [0,1].
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from training.methods.probabilities import log_mean, log_probabilities

DDN_SHRINKAGE = 0.05  # relative change of the radius a step (gamma)
DDN_LAST_STEP = 0.01  # length of the last step; the first is 1


@dataclass(frozen=True)
class Target:
    """The loss under attack: a network, clean images with their labels, and m noisy copies of each.

    images: (B, C, H, W) in [0,1]; labels: (B,) int64.
    noisy: (m*B, C, H, W), images + noise, copies of noise i contiguous.
    """

    network: nn.Module
    images: Tensor
    noisy: Tensor
    labels: Tensor

    def log_probs(self, eta_BCHW: Tensor) -> Tensor:
        """log mean_i F_i(x + delta_i + eta), shape (B, K)."""
        num_noises = len(self.noisy) // len(self.images)
        return log_mean(log_probabilities(self.network, shift(self.noisy, eta_BCHW), num_noises))

    def ascent(self, eta_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """The loss's gradient at eta, scaled to length 1 per image (0 where it vanishes), and log_probs."""
        eta_BCHW = eta_BCHW.detach().requires_grad_()
        log_probs_BK = self.log_probs(eta_BCHW)
        total = functional.nll_loss(log_probs_BK, self.labels, reduction="sum")
        (gradient_BCHW,) = torch.autograd.grad(total, eta_BCHW)
        tiny = torch.finfo(gradient_BCHW.dtype).tiny
        return gradient_BCHW / norms(gradient_BCHW).clamp_min(tiny), log_probs_BK.detach()

    def project(self, eta_BCHW: Tensor, radius: Tensor) -> Tensor:
        """The perturbation clipped so that x + eta is an image, then shortened to the radius."""
        in_box = (self.images + eta_BCHW).clamp(0, 1) - self.images
        return in_box * (radius / norms(in_box).clamp_min(1e-12)).clamp_max(1)


Attack = Callable[[Target, Tensor, int], Tensor]


def norms(batch_BCHW: Tensor) -> Tensor:
    """l2 norm of every image, shape (B, 1, 1, 1)."""
    lengths: Tensor = torch.linalg.vector_norm(batch_BCHW, dim=(1, 2, 3), keepdim=True)
    return lengths


def shift(noisy_NCHW: Tensor, eta_BCHW: Tensor) -> Tensor:
    """Adds an image's perturbation to all its noisy copies."""
    return noisy_NCHW + eta_BCHW.repeat(len(noisy_NCHW) // len(eta_BCHW), 1, 1, 1)


def pgd(target: Target, radius: Tensor, steps: int) -> Tensor:
    """Projected gradient ascent from 0: `steps` steps of length 2 radius/steps. Returns eta_BCHW."""
    eta_BCHW = torch.zeros_like(target.images)
    for _ in range(steps):
        direction_BCHW, _ = target.ascent(eta_BCHW)
        eta_BCHW = target.project(eta_BCHW + (2 * radius / steps) * direction_BCHW, radius)
    return eta_BCHW


def ddn(target: Target, radius: Tensor, steps: int) -> Tensor:
    """Decoupled direction and norm, starting at `radius`. Returns eta_BCHW.

    That is the shortest perturbation met that fools the smoothed classifier, else the last (where published
    code leaves such an image as it is); both are cut to the radius.
    """
    eta_BCHW = torch.zeros_like(target.images)
    best_BCHW, best_norm = eta_BCHW, torch.full_like(norms(eta_BCHW), torch.inf)
    length = torch.zeros_like(best_norm) + radius
    for step in range(steps):
        direction_BCHW, log_probs_BK = target.ascent(eta_BCHW)
        fooled = (log_probs_BK.argmax(1) != target.labels).view(-1, 1, 1, 1)
        better = fooled & (norms(eta_BCHW) < best_norm)
        best_BCHW = torch.where(better, eta_BCHW, best_BCHW)
        best_norm = torch.where(better, norms(eta_BCHW), best_norm)
        length = length * torch.where(fooled, 1 - DDN_SHRINKAGE, 1 + DDN_SHRINKAGE)
        moved_BCHW = eta_BCHW + cosine_step(step, steps) * direction_BCHW
        eta_BCHW = target.project(moved_BCHW * length / norms(moved_BCHW).clamp_min(1e-12), length)
    return target.project(torch.where(best_norm.isfinite(), best_BCHW, eta_BCHW), radius)


def cosine_step(step: int, steps: int) -> float:
    """Length of one DDN step, falling from 1 towards DDN_LAST_STEP along half a cosine."""
    share = 0.5 * (1 + math.cos(math.pi * step / steps))
    return DDN_LAST_STEP + (1 - DDN_LAST_STEP) * share


ATTACKS: dict[str, Attack] = {"pgd": pgd, "ddn": ddn}


@contextmanager
def under_attack(network: nn.Module) -> Iterator[nn.Module]:
    """The network in eval mode with frozen parameters, everything put back at the end.

    Batch norm neither uses nor updates this batch's statistics; no gradient reaches a parameter. A DDP
    wrapper is taken off, because it would count these forward passes as steps.
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
