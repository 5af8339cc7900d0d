"""The networks that are measured, by name."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from smoothcert.engines.autotune import Subject
from smoothcert.engines.hardware import flop_per_vote
from smoothcert.models.architectures import build_network
from smoothcert.models.checkpoint import load_network
from smoothcert.models.registry import read_card

_COLOUR = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))


@dataclass(frozen=True)
class Spec:
    """architecture, C,H,W, classes, votes of a certificate, and the plain loop's batch sizes to search."""

    architecture: str
    shape_CHW: tuple[int, int, int]
    num_classes: int
    n: int
    batches: dict[str, tuple[int, ...]]


SPECS = {
    "lenet": Spec("lenet", (1, 28, 28), 10, 100_000, {"cpu": (200, 400), "cuda": (4000, 16000)}),
    "resnet20": Spec("resnet20", (3, 32, 32), 10, 100_000, {"cpu": (50, 100, 200), "cuda": (400, 4000)}),
    "resnet110": Spec("resnet110", (3, 32, 32), 10, 100_000, {"cpu": (50, 100, 200), "cuda": (400, 4000)}),
    "resnet50@224": Spec("resnet50", (3, 224, 224), 1000, 2_000, {"cpu": (4, 16, 50), "cuda": (100, 400)}),
}


@dataclass(frozen=True)
class Measured:
    """One network with an image to certify."""

    name: str
    spec: Spec
    network: nn.Module
    image_CHW: NDArray[np.uint8]
    sigma: float = 0.5

    @property
    def subject(self) -> Subject:
        return Subject(self.network, self.spec.shape_CHW, self.spec.num_classes, self.name)

    @property
    def flops(self) -> int:
        """Of one vote."""
        return flop_per_vote(self.network, self.spec.shape_CHW)


def load(name: str, checkpoint: Path | None) -> Measured:
    """A named network with random weights, or the weights of a checkpoint folder of that architecture."""
    spec = SPECS[name]
    image_CHW = np.random.default_rng(0).integers(0, 256, spec.shape_CHW, dtype=np.uint8)
    if checkpoint is not None:
        assert read_card(checkpoint).architecture == spec.architecture
        return Measured(name, spec, load_network(checkpoint), image_CHW, read_card(checkpoint).sigma)
    torch.manual_seed(0)
    mean, std = _COLOUR if spec.shape_CHW[0] == 3 else ((0.0,), (1.0,))
    network = build_network(spec.architecture, spec.num_classes, mean, std).eval()
    return Measured(name, spec, network, image_CHW)
