"""CAT-RS, confidence-aware training: Jeong, Kim & Shin, AAAI 2023.

Images of which the network is sure are trained on their worst noise too, unsure ones on their easiest noises
alone.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.datasets import defaults_family
from training.methods.base import (
    Method,
    TrainingProgress,
    log_probabilities,
    nearest_sigma,
    repeat_with_noise,
    require_at_least,
    require_positive,
)
from training.methods.smoothadv import frozen_for_attack, l2_norms

NORM_OFFSET = 1e-8  # added to a gradient's norm
WEIGHTS = {
    "mnist": {0.25: 1.0, 0.5: 1.0, 1.0: 2.0},  # published at 0.25 alone
    "cifar10": {0.25: 0.5, 0.5: 1.0, 1.0: 2.0},
    "imagenet": {0.5: 1.0, 1.0: 2.0},  # not published: CIFAR-10's
}


@dataclass(frozen=True)
class CatRs(Method):
    """(1/m) sum of the K smallest CE(F_i, y) + weight * [K = m] max_i KL(p || F(x + attacked delta_i)).

    K = max(1, Bin(m, share of the m copies that are classified right)). p: the vote shares of a network
    trained with Gaussian noise on each training image.
    """

    uses_vote_shares: ClassVar[bool] = True

    num_noises: int = field(default=4, metadata={"help": "noises per image in one step (m)"})
    steps: int = field(default=4, metadata={"help": "steps of the attack on the noise (T)"})
    epsilon: float = field(default=1.0, metadata={"help": "largest l2 norm of the attack, pixels in [0,1]"})
    weight: float = field(default=1.0, metadata={"help": "weight of the worst noise (lambda)"})

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(epsilon=self.epsilon)
        require_at_least(1, steps=self.steps)
        require_at_least(0, weight=self.weight)

    @classmethod
    def defaults(cls, dataset: str, sigma: float, **given: Any) -> dict[str, Any]:
        """The published options for this data set and the nearest noise level."""
        weight = nearest_sigma(WEIGHTS[defaults_family(dataset)], sigma)
        return {"num_noises": 4, "steps": 4, "epsilon": 1.0, "weight": weight}

    def loss(
        self,
        network: nn.Module,
        images_BCHW: Tensor,
        labels_B: Tensor,
        progress: TrainingProgress,
        generator: torch.Generator | None,
        *,
        shares_BK: Tensor | None = None,
    ) -> Tensor:
        """See Method.loss. shares_BK: p of these images; without them the labels, each with share 1."""
        start_NCHW = repeat_with_noise(torch.zeros_like(images_BCHW), self.num_noises, self.sigma, generator)
        uniform_mB = torch.rand(
            (self.num_noises, len(images_BCHW)), generator=generator, device=images_BCHW.device
        )
        copies_NCHW = images_BCHW.repeat(self.num_noises, 1, 1, 1)
        log_probs_mBK = log_probabilities(network, copies_NCHW + start_NCHW, self.num_noises)
        if shares_BK is None:
            shares_BK = functional.one_hot(labels_B, log_probs_mBK.shape[-1])
        shares_BK = shares_BK.to(log_probs_mBK.dtype)
        with frozen_for_attack(network) as frozen:
            noise_NCHW = self.attacked_noise(frozen, copies_NCHW, start_NCHW, shares_BK)
        attacked_mBK = log_probabilities(network, copies_NCHW + noise_NCHW, self.num_noises)
        easy_B, sure_B = easiest(log_probs_mBK, labels_B, uniform_mB)
        worst_B = divergences(shares_BK, attacked_mBK).amax(0)
        return (easy_B + self.weight * sure_B * worst_B).mean()

    def attacked_noise(
        self, network: nn.Module, copies_NCHW: Tensor, start_NCHW: Tensor, shares_BK: Tensor
    ) -> Tensor:
        """Each noise moved by at most epsilon to raise KL(p || F(x + noise)), with its mean and rms kept."""
        noise_NCHW, step = start_NCHW, 2 * self.epsilon / self.steps
        for _ in range(self.steps):
            noise_NCHW = noise_NCHW.detach().requires_grad_()
            log_probs_mBK = log_probabilities(network, copies_NCHW + noise_NCHW, self.num_noises)
            loss = divergences(shares_BK, log_probs_mBK).sum()
            (gradient_NCHW,) = torch.autograd.grad(loss, noise_NCHW)
            direction_NCHW = gradient_NCHW / (l2_norms(gradient_NCHW) + NORM_OFFSET)
            change_NCHW = noise_NCHW.detach() + step * direction_NCHW - start_NCHW
            longest = self.epsilon / l2_norms(change_NCHW).clamp_min(torch.finfo(change_NCHW.dtype).tiny)
            noise_NCHW = restandardized(start_NCHW + change_NCHW * longest.clamp_max(1), start_NCHW)
        return noise_NCHW.detach()


def easiest(log_probs_mBK: Tensor, labels_B: Tensor, uniform_mB: Tensor) -> tuple[Tensor, Tensor]:
    """(1/m) times the sum of each image's `kept` smallest cross entropies, and whether kept = m: (B,), (B,).

    kept is binomial: how many of m draws lie below the share of copies classified right, at least 1.
    uniform_mB: these draws, in [0,1).
    """
    losses_mB = -log_probs_mBK.gather(-1, labels_B.expand(len(log_probs_mBK), -1)[..., None]).squeeze(-1)
    right_B = (log_probs_mBK.argmax(-1) == labels_B).float().mean(0)
    kept_B = (uniform_mB < right_B).sum(0).clamp_min(1)
    rank_m1 = torch.arange(len(losses_mB), device=kept_B.device)[:, None]
    easy_B = (losses_mB.sort(0).values * (rank_m1 < kept_B)).mean(0)
    return easy_B, kept_B == len(losses_mB)


def divergences(shares_BK: Tensor, log_probs_mBK: Tensor) -> Tensor:
    """KL(p || F_i) of every copy: (m, B). A class without votes adds 0."""
    return torch.xlogy(shares_BK, shares_BK).sum(-1) - (shares_BK * log_probs_mBK).sum(-1)


def restandardized(noise_NCHW: Tensor, start_NCHW: Tensor) -> Tensor:
    """The noise shifted and scaled to mean and root mean square of its start, each by itself."""
    return mean(start_NCHW) + (noise_NCHW - mean(noise_NCHW)) * (rms(start_NCHW) / rms(noise_NCHW))


def mean(batch_NCHW: Tensor) -> Tensor:
    """Of every image: (N, 1, 1, 1)."""
    return batch_NCHW.mean((1, 2, 3), keepdim=True)


def rms(batch_NCHW: Tensor) -> Tensor:
    """Root mean square of every image: (N, 1, 1, 1)."""
    return batch_NCHW.square().mean((1, 2, 3), keepdim=True).sqrt()
