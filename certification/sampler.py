"""Votes of one image on the CPU: noise is drawn here, a voter classifies, counts come back."""

from collections import deque
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from certification.batches import Batch, batches
from certification.grid_noise import GridNoise
from certification.noise import noise_table, slack
from certification.streams import BatchStream
from certification.votes import Counts, VoteRange

Image = NDArray[np.uint8]  # C,H,W


class BatchVoter(Protocol):
    """One network under one set-up: whole batches of grid pixels in, one class a row out.

    Up to `slots` batches may be under way; `classes` waits for its slot's batch.
    """

    num_classes: int
    shape_BHWC: tuple[int, int, int, int]
    slots: int

    def start(self, slot: int, pixels_BHWC: Tensor) -> None: ...  # int16, value/255 is the pixel

    def classes(self, slot: int) -> NDArray[np.int64]: ...  # shape (B,)


class Sampler:
    """The VoteSource of one image, noise level and seed on a CPU voter.

    image_CHW: uint8. sigma: pixels in [0,1]. seed: 128 bits. Noise is drawn in the order vote, row, column,
    channel, whatever the set-up's memory format. Not for several threads at once.
    """

    def __init__(self, voter: BatchVoter, image_CHW: Image, sigma: float, seed: int) -> None:
        size, *shape_HWC = voter.shape_BHWC
        image_HWC = np.ascontiguousarray(image_CHW.transpose(1, 2, 0))
        assert image_HWC.dtype == np.uint8
        assert list(image_HWC.shape) == shape_HWC
        self.num_classes = voter.num_classes
        self.slack = slack(sigma, image_HWC.size)
        self._voter = voter
        self._seed = seed
        self._size = size
        self._image_HWC = torch.from_numpy(image_HWC.astype(np.int16))
        self._noise = GridNoise(noise_table(sigma), size * image_HWC.size)
        self._pixels = [torch.empty(voter.shape_BHWC, dtype=torch.int16) for _ in range(voter.slots)]

    def count(self, votes: VoteRange) -> Counts:
        """Votes per class, shape (K,), int64. Additive over ranges; the same for the same seed."""
        counts = np.zeros(self.num_classes, dtype=np.int64)
        under_way: deque[tuple[int, Batch]] = deque()
        for batch in batches(votes, self._size):
            if len(under_way) == self._voter.slots:
                counts += self._collect(*under_way.popleft())
            slot = batch.index % self._voter.slots
            self._draw(batch, votes, self._pixels[slot])
            self._voter.start(slot, self._pixels[slot])
            under_way.append((slot, batch))
        for slot, batch in under_way:
            counts += self._collect(slot, batch)
        return counts

    def _draw(self, batch: Batch, votes: VoteRange, pixels_BHWC: Tensor) -> None:
        self._noise.draw(BatchStream(self._seed, votes.stage, batch.index), pixels_BHWC.view(-1))
        pixels_BHWC.add_(self._image_HWC)

    def _collect(self, slot: int, batch: Batch) -> Counts:
        classes = self._voter.classes(slot)[batch.first : batch.last]
        return np.bincount(classes, minlength=self.num_classes).astype(np.int64)
