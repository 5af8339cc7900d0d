"""Votes of an image with real-valued pixels, such as an adversarial example.

A certificate is about the smoothed classifier of f∘Q on all of R^d, where Q rounds each pixel to the grid
(`smoothcert.noise.table`). At an image of the grid, the engine draws Q(x + delta) from its exact law; at any
other x that law differs from pixel to pixel. Here delta is a float64 normal and Q(x + delta) is computed,
with an error of about 1e-15 a pixel: enough to test a claim, not enough to certify.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from smoothcert.engines.config import EngineConfig
from smoothcert.engines.cuda import fixed_kernels
from smoothcert.engines.engine import check_runnable, cpu_voter
from smoothcert.engines.pytorch import compile_voter, ready_voter
from smoothcert.noise.sampler import BatchVoter, Sampler
from smoothcert.noise.streams import BatchStream
from smoothcert.schemas.certificate import Shape
from smoothcert.votes import Stage

_GRID = np.iinfo(np.int16)


def real_voter(network: nn.Module, shape_CHW: Shape, num_classes: int, setup: EngineConfig) -> BatchVoter:
    """The classifier of this engine config, for pixels that the caller draws.

    Raises InvalidRequest, InternalError: see `check_runnable`.
    """
    check_runnable(setup)
    if setup.device == "cuda":
        return DeviceVoter(network, shape_CHW, num_classes, setup)
    return cpu_voter(network, shape_CHW, num_classes, setup)


class DeviceVoter:
    """The classifier of a CUDA config without its graph: the same kernels, as they depend on shapes only."""

    slots = 1

    def __init__(
        self,
        network: nn.Module,
        shape_CHW: Shape,
        num_classes: int,
        setup: EngineConfig,
        device: str = "cuda",
    ) -> None:
        channels, height, width = shape_CHW
        self.num_classes = num_classes
        self.shape_BHWC = (setup.batch, height, width, channels)
        self._device = device
        self._tf32 = setup.precision == "tf32"
        self._run: nn.Module = ready_voter(network, setup).to(device)
        if setup.backend.startswith("compile"):
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
