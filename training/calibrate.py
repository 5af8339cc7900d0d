"""Calibration of int8 rounding: the range of each activation, observed on noisy training images."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from smoothcert.engines.int8 import places
from smoothcert.engines.pytorch import fold_batch_norm
from smoothcert.schemas.card import LEVELS, Calibration, Quantization, Rounding
from training.datasets.image_set import ImageSet

BATCH = 64
MIN_RANGE = 1e-6  # of an activation that is always 0
Report = Callable[[int], None]  # called with the number of images so far


@dataclass(frozen=True)
class CalibrationRequest:
    """What to calibrate on. weights_sha256: of the checkpoint that the rounding belongs to.

    sigma: noise level, pixels in [0,1]. images: number of training images. seed: of their choice and noise.
    """

    weights_sha256: str
    sigma: float
    images: int
    seed: int


def calibrate(
    network: nn.Module, images: ImageSet, request: CalibrationRequest, report: Report
) -> Quantization:
    """The rounding of each activation: it covers the mean over images of their smallest and largest values.

    The same request gives the same rounding. Raises InternalError, as `places` does.
    """
    traced, nodes = places(fold_batch_norm(copy.deepcopy(network).eval()))
    observer = RangeObserver(traced, {node.name for node in nodes})
    generator = torch.Generator().manual_seed(request.seed)
    chosen = torch.randperm(len(images), generator=generator)[: request.images]
    for indices_B in chosen.split(BATCH):  # type: ignore[no-untyped-call]
        images_BCHW = torch.stack([images.images_u8[index] for index in indices_B.tolist()]) / 255
        noise_BCHW = torch.randn(images_BCHW.shape, generator=generator)
        observer.observe(images_BCHW + request.sigma * noise_BCHW)
        report(observer.images)
    return Quantization(
        weights_sha256=request.weights_sha256,
        calibration=Calibration(
            dataset=images.name, images=observer.images, sigma=request.sigma, seed=request.seed
        ),
        places={name: _rounding(*ends) for name, ends in observer.mean_ranges().items()},
    )


class RangeObserver(fx.Interpreter):
    """Runs a traced network and sums each image's smallest and largest value of each activation."""

    def __init__(self, traced: fx.GraphModule, names: set[str]) -> None:
        super().__init__(traced)
        self.images = 0
        self._names = names
        self._sums: dict[str, Tensor] = {}

    def observe(self, images_BCHW: Tensor) -> None:
        """Add one batch."""
        self.images += len(images_BCHW)
        with torch.no_grad():
            self.run(images_BCHW)

    def run_node(self, n: fx.Node) -> Any:
        """Runs a node and records its result. (n: the superclass's name for the node.)"""
        result = super().run_node(n)
        if n.name in self._names:
            minimum_B, maximum_B = result.flatten(1).double().aminmax(dim=1)
            ends = torch.stack([minimum_B.sum(), maximum_B.sum()])
            self._sums[n.name] = self._sums.get(n.name, torch.zeros_like(ends)) + ends
        return result

    def mean_ranges(self) -> dict[str, tuple[float, float]]:
        """Smallest and largest value of each activation, means over images; in the network's order."""
        means = {name: ends / self.images for name, ends in self._sums.items()}
        return {name: (float(ends[0]), float(ends[1])) for name, ends in means.items()}


def _rounding(minimum: float, maximum: float) -> Rounding:
    """256 levels from `minimum` to `maximum`. One of them is exactly 0, the value of padding."""
    minimum, maximum = min(minimum, 0.0), max(maximum, 0.0)
    scale = max(maximum - minimum, MIN_RANGE) / LEVELS
    return Rounding(scale=scale, zero_point=round(-minimum / scale))
