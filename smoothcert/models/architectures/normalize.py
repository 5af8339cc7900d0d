"""The network's first layer: pixels in [0,1] to the scale it was trained on."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """(x - mean) / std, one value a channel. Buffers move with the network, untrained."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        # Not persistent: the card holds the numbers, the weights file holds what was trained.
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return (images_BCHW - self.mean) / self.std
