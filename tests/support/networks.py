import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn


@pytest.fixture(scope="session")
def image_CHW() -> NDArray[np.uint8]:  # noqa: N802
    """A small colour image, 3x12x12."""
    return np.random.default_rng(2).integers(0, 256, (3, 12, 12), dtype=np.uint8)


@pytest.fixture(scope="session")
def small_network(image_CHW: NDArray[np.uint8]) -> nn.Module:
    """A convolutional network with batch norm and six classes, votes at `image_CHW` spread over them."""
    torch.manual_seed(3)
    norms = [nn.BatchNorm2d(8), nn.BatchNorm2d(16)]
    for norm in norms:
        nn.init.uniform_(norm.running_mean, -0.5, 0.5)
        nn.init.uniform_(norm.running_var, 0.5, 2.0)
    last = nn.Linear(16 * 9, 6)
    body = [
        nn.Conv2d(3, 8, 3),
        norms[0],
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3),
        norms[1],
        nn.ReLU(),
    ]
    network = nn.Sequential(*body, nn.Flatten(), last).eval()
    noisy = torch.from_numpy(image_CHW) / 255 + 0.5 * torch.randn(500, *image_CHW.shape)
    with torch.no_grad():
        last.bias -= network(noisy).mean(0)
    return network.requires_grad_(False)
