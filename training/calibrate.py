"""Choosing an int8 rounding: what runs between a network's layers, observed on noisy training images."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from smoothcert.engines.int8 import places
from smoothcert.engines.pytorch import fold_batch_norm
from smoothcert.schemas.card import LEVELS, Calibration, Quantization, Rounding
from training.datasets import ImageSet

BATCH = 64
SMALLEST_SPAN = 1e-6  # of a place whose numbers are all 0, as after a dead ReLU
Told = Callable[[int], None]  # images seen so far


@dataclass(frozen=True)
class Order:
    """What to calibrate on. weights_sha256: of the checkpoint that the rounding will be part of."""

    weights_sha256: str
    sigma: float
    images: int
    seed: int


def calibrate(network: nn.Module, images: ImageSet, order: Order, told: Told) -> Quantization:
    """The rounding that just covers what most images bring: from the smallest to the largest number of each,
    averaged over the images. The same order gives the same rounding. Raises InternalError, as `places`
    does.
    """
    traced, nodes = places(fold_batch_norm(copy.deepcopy(network).eval()))
    observer = Observer(traced, {node.name for node in nodes})
    generator = torch.Generator().manual_seed(order.seed)
    chosen = torch.randperm(len(images), generator=generator)[: order.images]
    for first in range(0, len(chosen), BATCH):
        part = chosen[first : first + BATCH].tolist()
        pixels = torch.stack([images.images_u8[index] for index in part]) / 255
        observer.watch(pixels + order.sigma * torch.randn(pixels.shape, generator=generator))
        told(observer.images)
    return Quantization(
        weights_sha256=order.weights_sha256,
        calibration=Calibration(
            dataset=images.name, images=observer.images, sigma=order.sigma, seed=order.seed
        ),
        places={name: _rounding(*span) for name, span in observer.spans().items()},
    )


class Observer(fx.Interpreter):
    """Runs a traced network and adds up, place by place, each image's smallest and largest number."""

    def __init__(self, traced: fx.GraphModule, names: set[str]) -> None:
        super().__init__(traced)
        self.images = 0
        self._names = names
        self._sums: dict[str, Tensor] = {}

    def watch(self, images_BCHW: Tensor) -> None:
        """One batch more."""
        self.images += len(images_BCHW)
        with torch.no_grad():
            self.run(images_BCHW)

    def run_node(self, n: fx.Node) -> Any:
        """As the superclass, whose parameter it is that is called n; what the node gave is noted."""
        result = super().run_node(n)
        if n.name in self._names:
            least, most = result.flatten(1).double().aminmax(dim=1)
            ends = torch.stack([least.sum(), most.sum()])
            self._sums[n.name] = self._sums.get(n.name, torch.zeros_like(ends)) + ends
        return result

    def spans(self) -> dict[str, tuple[float, float]]:
        """Least and most of each place, means over the images; in the order of the network."""
        return {name: (float(ends[0]), float(ends[1])) for name, ends in self._means()}

    def _means(self) -> list[tuple[str, Tensor]]:
        return [(name, ends / self.images) for name, ends in self._sums.items()]


def _rounding(least: float, most: float) -> Rounding:
    """256 levels from `least` to `most`, of which one is 0 exactly: that is what padding adds."""
    least, most = min(least, 0.0), max(most, 0.0)
    scale = max(most - least, SMALLEST_SPAN) / LEVELS
    return Rounding(scale=scale, zero_point=round(-least / scale))
