"""A small problem in float64, for comparing losses with plain versions of their formulas."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from training.methods.base import Method, TrainingProgress, repeat_with_noise

CLASSES = 4


@dataclass(frozen=True)
class Problem:
    """A network without batch norm, 5 images of 2x6x6, their labels."""

    network: nn.Module
    images: Tensor
    labels: Tensor

    def loss(self, method: Method, progress: TrainingProgress | None = None, seed: int = 3) -> Tensor:
        progress = progress or TrainingProgress(torch.tensor(50.0), first_drop=31.0)
        return method.loss(
            self.network, self.images, self.labels, progress, torch.Generator().manual_seed(seed)
        )

    def logits(self, num_noises: int, sigma: float, seed: int = 3) -> Tensor:
        """Logits of each noisy copy, one forward pass per copy: (m, B, K)."""
        noisy = repeat_with_noise(self.images, num_noises, sigma, torch.Generator().manual_seed(seed))
        rows = [self.network(copy[None])[0] for copy in noisy]
        return torch.stack(rows).view(num_noises, len(self.images), CLASSES).detach()

    def clean_logits(self) -> Tensor:
        return torch.stack([self.network(image[None])[0] for image in self.images]).detach()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread of torch: sums have a fixed order, and small networks train faster."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def problem() -> Problem:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.Softplus(), nn.Flatten(), nn.Linear(48, CLASSES, bias=False)
    ).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(4)  # confident answers, some of them wrong
    images = torch.rand(5, 2, 6, 6, dtype=torch.float64)
    return Problem(network, images, torch.tensor([0, 1, 2, 3, 1]))


@pytest.fixture
def random_logits() -> Tensor:
    """(m, B, K) = (3, 5, 4), float64."""
    return 2 * torch.randn(3, 5, CLASSES, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
