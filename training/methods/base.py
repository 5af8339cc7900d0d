"""What every training method shares: the interface, noisy copies, the losses' terms, checks of options.

Shapes: B images, m noises an image, K classes; N = m*B, copies of noise i contiguous. F_i is the softmax at
noise i, F_hat the mean of the m softmaxes. Probabilities are kept as logarithms, so that nothing overflows.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from smoothcert.errors import InvalidRequest

T = TypeVar("T")


@dataclass(frozen=True)
class TrainingProgress:
    """How far training is. epoch is a tensor, so that a captured CUDA graph sees it change.

    epoch: float scalar, completed epochs plus the share of the current one.
    first_drop: epoch at which the learning rate first drops.
    """

    epoch: Tensor
    first_drop: float


@dataclass(frozen=True)
class Method(ABC):
    """A published training method: its hyperparameters and its loss. Raises InvalidRequest on a bad option.

    Each field is an option of the command line; `help` in its metadata describes it. Registered in
    training.methods.METHODS.
    """

    uses_vote_shares: ClassVar[bool] = False  # loss takes `shares_BK`: see training.teacher
    needs_classifier: ClassVar[bool] = False  # it trains a denoiser; loss takes the frozen `classifier`

    sigma: float = field(metadata={"help": "noise level, in units of pixels in [0,1]"})
    num_noises: int = field(default=1, metadata={"help": "noises per image in one step (m)"})

    def __post_init__(self) -> None:
        require_positive(sigma=self.sigma)
        require_at_least(1, num_noises=self.num_noises)

    @property
    def chunks(self) -> int:
        """Optimizer steps per batch. The published runs cut a batch of images into m chunks, one a step."""
        return self.num_noises

    @property
    def unused_options(self) -> frozenset[str]:
        """Options without effect on the loss as configured."""
        return frozenset()

    @classmethod
    @abstractmethod
    def defaults(cls, dataset: str, sigma: float, **given: Any) -> dict[str, Any]:
        """The published options, without sigma, for a data set at the nearest published noise level.

        given: options that the user chose; defaults of others may depend on them.
        """

    @abstractmethod
    def loss(
        self,
        network: nn.Module,
        images_BCHW: Tensor,
        labels_B: Tensor,
        progress: TrainingProgress,
        generator: torch.Generator | None,
    ) -> Tensor:
        """The loss of one optimizer step: a float32 scalar.

        images_BCHW: float32 in [0,1], before repetition. labels_B: int64. generator: draws the noise; None:
        the default generator of the images' device.
        It must fit a CUDA graph: no data-dependent shapes, no `.item()`, no Python branch on tensor values.
        """


def repeat_with_noise(
    images_BCHW: Tensor, num_noises: int, sigma: float, generator: torch.Generator | None
) -> Tensor:
    """m noisy copies of every image, not clipped: (m*B, C, H, W). sigma: pixels in [0,1]."""
    shape_mBCHW = (num_noises, *images_BCHW.shape)
    noise = torch.randn(shape_mBCHW, generator=generator, device=images_BCHW.device, dtype=images_BCHW.dtype)
    return noise.mul_(sigma).add_(images_BCHW).flatten(0, 1)


def log_probabilities(network: nn.Module, inputs_NCHW: Tensor, num_noises: int) -> Tensor:
    """log F_i(x): (m, B, K), float32 or wider."""
    logits_NK = network(inputs_NCHW)
    wide_NK = logits_NK.to(torch.promote_types(logits_NK.dtype, torch.float32))
    return functional.log_softmax(wide_NK.unflatten(0, (num_noises, -1)), dim=-1)


def log_mean(log_probs_mBK: Tensor) -> Tensor:
    """log F_hat: (B, K)."""
    return torch.logsumexp(log_probs_mBK, dim=0) - math.log(len(log_probs_mBK))


def mean_cross_entropy(log_probs_mBK: Tensor, labels_B: Tensor) -> Tensor:
    """mean over noises and images of CE(F_i, y): a scalar."""
    labels_mB = labels_B.expand(len(log_probs_mBK), -1)
    return functional.nll_loss(log_probs_mBK.flatten(0, 1), labels_mB.flatten())


def cross_entropy(log_target: Tensor, log_probs: Tensor) -> Tensor:
    """CE(target, F) = -sum_k target_k log F_k: (..., K) to (...). Gradients flow through both arguments."""
    return -(log_target.exp() * log_probs).sum(-1)


def entropy(log_probs: Tensor) -> Tensor:
    """H(F): (..., K) to (...)."""
    return cross_entropy(log_probs, log_probs)


def warmed_up(progress: TrainingProgress, warmup: int) -> Tensor:
    """A share that grows by 1/warmup an epoch from 1/warmup to 1: a scalar."""
    return ((progress.epoch.floor() + 1) / max(warmup, 1)).clamp_max(1)


def require_positive(**options: float) -> None:
    """Raises InvalidRequest for the first option that is not a finite number above 0."""
    for name, value in options.items():
        if not 0 < value < float("inf"):
            raise InvalidRequest(f"{name} must be a number above 0, not {value}.")


def require_at_least(minimum: float, why: str = "", **options: float) -> None:
    """Raises InvalidRequest for the first option below `minimum`. why: added to the message in brackets."""
    for name, value in options.items():
        if not minimum <= value < float("inf"):
            reason = f" ({why})" if why else ""
            raise InvalidRequest(f"{name} must be at least {minimum}, not {value}{reason}.")


def require_one_of(allowed: Iterable[str], **options: str) -> None:
    """Raises InvalidRequest for the first option whose value is not in `allowed`."""
    for name, value in options.items():
        if value not in allowed:
            raise InvalidRequest(f"{name} must be one of {', '.join(allowed)}, not {value!r}.")


def nearest_sigma(table: Mapping[float, T], sigma: float) -> T:
    """The entry of the published noise level nearest to `sigma`."""
    return table[min(table, key=lambda published: abs(published - sigma))]
