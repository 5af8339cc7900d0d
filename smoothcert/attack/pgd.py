"""Projected gradient descent against the smoothed classifier, with fresh noise at every step.

The surrogate of a class's share of votes is the mean softmax over m noise samples (Salman et al., NeurIPS
2019). The loss is minus the logarithm of the share of the class to leave; with a target class, the log share
of the target is added (multi-targeted, Gowal et al. 2019), which keeps the gradient when the class to leave
has all the votes. The network runs in float32 on unrounded pixels, so it need not be the classifier that is
checked.

Notation: eta is the perturbation, shape (C, H, W), float64; m noise samples, K classes; norms are l2, pixels
in [0,1].
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from smoothcert.engines.config import EngineConfig
from smoothcert.engines.cuda import fixed_kernels
from smoothcert.engines.engine import check_runnable, cpu_voter
from smoothcert.engines.pytorch import compile_voter, ready_voter
from smoothcert.noise.grid import BatchStream
from smoothcert.noise.sampler import BatchVoter, Sampler
from smoothcert.schemas.certificate import Shape
from smoothcert.votes import Stage

_GRID = np.iinfo(np.int16)


def real_voter(network: nn.Module, shape_CHW: Shape, num_classes: int, config: EngineConfig) -> BatchVoter:
    """The classifier of this engine config, for pixels that the caller draws.

    Raises InvalidRequest, InternalError: see `check_runnable`.
    """
    check_runnable(config)
    if config.device == "cuda":
        return DeviceVoter(network, shape_CHW, num_classes, config)
    return cpu_voter(network, shape_CHW, num_classes, config)


class DeviceVoter:
    """The classifier of a CUDA config without its graph: the same kernels, as they depend on shapes only."""

    slots = 1

    def __init__(
        self,
        network: nn.Module,
        shape_CHW: Shape,
        num_classes: int,
        config: EngineConfig,
        device: str = "cuda",
    ) -> None:
        channels, height, width = shape_CHW
        self.num_classes = num_classes
        self.shape_BHWC = (config.batch, height, width, channels)
        self._device = device
        self._tf32 = config.precision == "tf32"
        self._run: nn.Module = ready_voter(network, config).to(device)
        if config.backend.startswith("compile"):
            compile_voter(self._run)

    def start(self, slot: int, pixels_BHWC: Tensor) -> None:
        with torch.no_grad(), fixed_kernels(self._tf32):
            self._classes: Tensor = self._run(pixels_BHWC.to(self._device, torch.int32))

    def classes(self, slot: int) -> NDArray[np.int64]:
        classes: NDArray[np.int64] = self._classes.cpu().numpy()
        return classes


class RealSampler(Sampler):
    """The VoteSource of one real image, noise level and seed.

    image_CHW: float64, pixels in [0,1] or beyond. sigma: in the same unit. seed: 128 bits. `slack` is 0
    because these votes certify nothing.
    """

    def __init__(self, voter: BatchVoter, image_CHW: NDArray[np.float64], sigma: float, seed: int) -> None:
        super().__init__(voter, np.zeros(image_CHW.shape, dtype=np.uint8), sigma, seed)
        self.slack = 0.0
        self._steps = 255 * sigma
        self._real_HWC = 255 * torch.from_numpy(np.ascontiguousarray(image_CHW.transpose(1, 2, 0)))
        assert self._real_HWC.dtype == torch.float64

    def _start(self, slot: int, stage: Stage, index: int) -> None:
        pixels_BHWC = self._pixels[slot]
        normals = BatchStream(self._seed, stage, index).normals(pixels_BHWC.numel())
        real_BHWC = torch.from_numpy(normals).view(pixels_BHWC.shape).mul_(self._steps).add_(self._real_HWC)
        pixels_BHWC.copy_(real_BHWC.round_().clamp_(_GRID.min, _GRID.max))
        self._voter.start(slot, pixels_BHWC)


MOMENTUM = 0.75  # of unit gradients; averages out the noise of single steps


@dataclass(frozen=True)
class Goal:
    """The class to leave, and the class to reach (None: any other)."""

    leave: int
    reach: int | None = None


class Surrogate:
    """A network averaged over m noise samples. threads: CPU threads, 0 for no change. seed: of all noise."""

    def __init__(
        self, network: nn.Module, sigma: float, noises: int, *, device: str, threads: int, seed: int
    ) -> None:
        self._network = network.eval().requires_grad_(requires_grad=False).to(device)
        self._sigma = sigma
        self._noises = noises
        self._device = device
        self._threads = threads
        self._generator = torch.Generator(device=device).manual_seed(seed)

    def log_mean(self, image_CHW: Tensor) -> Tensor:
        """log mean_i F_i(x + delta_i) over m fresh noises, shape (K,)."""
        if self._threads and torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        shape = (self._noises, *image_CHW.shape)
        noise_mCHW = torch.randn(shape, generator=self._generator, device=self._device)
        logits_mK = self._network(image_CHW.to(self._device, torch.float32) + self._sigma * noise_mCHW)
        log_probs_mK = logits_mK.float().log_softmax(dim=1)
        log_mean_K: Tensor = log_probs_mK.logsumexp(dim=0) - math.log(self._noises)
        return log_mean_K

    def other_classes(self, image_CHW: Tensor, leave: int) -> list[int]:
        """All classes but `leave`, the most likely first."""
        with torch.no_grad():
            order: list[int] = self.log_mean(image_CHW).argsort(descending=True).tolist()
        return [k for k in order if k != leave]

    def direction(self, like_CHW: Tensor) -> Tensor:
        """A uniformly random unit vector, shape (C, H, W)."""
        drawn = torch.randn(like_CHW.shape, generator=self._generator, device=self._device)
        return unit(drawn.to("cpu", torch.float64))

    def gradient(self, image_CHW: Tensor, goal: Goal) -> Tensor:
        """Gradient of the loss at one image, scaled to length 1 (0 if it vanishes)."""
        image_CHW = image_CHW.detach().requires_grad_()
        log_mean_K = self.log_mean(image_CHW)
        loss = -log_mean_K[goal.leave]
        if goal.reach is not None:
            loss = loss + log_mean_K[goal.reach]
        (gradient_CHW,) = torch.autograd.grad(loss, image_CHW)
        return unit(gradient_CHW)

    def pgd_attack(
        self, image_CHW: Tensor, goal: Goal, radius: float, start_CHW: Tensor, steps: int
    ) -> Tensor:
        """eta with norm at most `radius`. Step lengths follow a cosine from `radius` to 0."""
        eta_CHW = within(start_CHW, radius)
        velocity_CHW = torch.zeros_like(eta_CHW)
        for step in range(steps):
            velocity_CHW = MOMENTUM * velocity_CHW + self.gradient(image_CHW + eta_CHW, goal)
            length = radius * (1 + math.cos(math.pi * step / steps)) / 2
            eta_CHW = within(eta_CHW + length * unit(velocity_CHW), radius)
        return eta_CHW


def unit(vector: Tensor) -> Tensor:
    """The vector scaled to length 1; the zero vector stays."""
    length: Tensor = torch.linalg.vector_norm(vector)
    return vector / length.clamp_min(torch.finfo(vector.dtype).tiny)


def within(eta_CHW: Tensor, radius: float) -> Tensor:
    """eta projected onto the ball of this radius."""
    return eta_CHW * min(1.0, radius / max(float(torch.linalg.vector_norm(eta_CHW)), 1e-300))
