"""The field's usual sampling loop, for comparison: eager, contiguous float32, votes counted one by one."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class PlainLoop:
    """Votes of one image as published code draws them: randn_like, forward pass, argmax, counts in a loop.

    TF32 keeps PyTorch's default: on for convolutions on a GPU.
    """

    def __init__(
        self, network: nn.Module, image_CHW: NDArray[np.uint8], sigma: float, batch: int, device: str
    ) -> None:
        self.batch = batch
        self._network = network.eval().to(device)
        self._image_CHW = torch.from_numpy(image_CHW).float().div(255).to(device)
        self._sigma = sigma

    @torch.no_grad()
    def count(self, votes: int, num_classes: int) -> NDArray[np.int64]:
        """Counts per class of that many new votes, shape (K,)."""
        counts = np.zeros(num_classes, dtype=np.int64)
        for _ in range(-(-votes // self.batch)):
            size = min(self.batch, votes)
            votes -= size
            images_BCHW = self._image_CHW.repeat(size, 1, 1, 1)
            noise_BCHW = torch.randn_like(images_BCHW) * self._sigma
            counts += self._tally(self._network(images_BCHW + noise_BCHW).argmax(1), num_classes)
        return counts

    @staticmethod
    def _tally(classes_B: Tensor, num_classes: int) -> NDArray[np.int64]:
        counts = np.zeros(num_classes, dtype=np.int64)
        for index in classes_B.cpu().numpy():
            counts[index] += 1
        return counts
