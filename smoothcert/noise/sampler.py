"""Votes of one image on the CPU: draws the noise, has a voter classify, counts the classes."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smoothcert.noise.normal import slack
from smoothcert.noise.streams import BatchStream, GridNoise
from smoothcert.noise.table import noise_table
from smoothcert.votes import NO_CLASS, Counts, Stage, VoteRange

Image = NDArray[np.uint8]  # C,H,W


@dataclass(frozen=True)
class Batch:
    """One forward pass. All rows are evaluated, as the shape is fixed; rows first..last-1 are counted."""

    index: int
    first: int
    last: int


def batches(votes: VoteRange, size: int) -> Iterator[Batch]:
    """The batches that hold a range of votes, in order; only part of the first and last may be counted."""
    assert 0 <= votes.start <= votes.stop
    for index in range(votes.start // size, -(-votes.stop // size)):
        begin = index * size
        yield Batch(index, max(votes.start - begin, 0), min(votes.stop - begin, size))


class BatchVoter(Protocol):
    """A network under one engine config: batches of grid pixels in, one class (or NO_CLASS) per row out.

    Up to `slots` batches may run at once; `classes` waits for the batch of its slot. A slot is started again
    only after its classes were read.
    """

    num_classes: int
    shape_BHWC: tuple[int, int, int, int]
    slots: int

    def start(self, slot: int, pixels_BHWC: Tensor) -> None: ...  # int16, value/255 is the pixel

    def classes(self, slot: int) -> NDArray[np.int64]: ...  # shape (B,)


@dataclass(frozen=True)
class _Evaluated:
    """The last batch evaluated: a range that continues inside it reuses its classes."""

    key: tuple[Stage, int] | None
    classes_B: NDArray[np.int64]


class Sampler:
    """The VoteSource of one image, noise level and seed on a CPU voter.

    image_CHW: uint8. sigma: pixels in [0,1]. seed: 128 bits. Noise is drawn in the order vote, row, column,
    channel, for every memory format. Not thread-safe.
    """

    def __init__(self, voter: BatchVoter, image_CHW: Image, sigma: float, seed: int) -> None:
        size, *shape_HWC = voter.shape_BHWC
        image_HWC = np.ascontiguousarray(image_CHW.transpose(1, 2, 0))
        assert image_HWC.dtype == np.uint8
        assert list(image_HWC.shape) == shape_HWC
        self.num_classes = voter.num_classes
        self.slack = slack(sigma, image_HWC.size)
        self.at_once = size * voter.slots  # votes under way at the same time
        self._voter = voter
        self._seed = seed
        self._last = _Evaluated(None, np.empty(0, dtype=np.int64))
        self._size = size
        self._image_HWC = torch.from_numpy(image_HWC.astype(np.int16))
        self._noise = GridNoise(noise_table(sigma), size * image_HWC.size)
        self._pixels = [torch.empty(voter.shape_BHWC, dtype=torch.int16) for _ in range(voter.slots)]

    def count(self, votes: VoteRange) -> Counts:
        """Votes per class, shape (K,), int64. Additive over ranges; the same for the same seed."""
        counts = np.zeros(self.num_classes, dtype=np.int64)
        free = deque(range(self._voter.slots))
        started: deque[tuple[int, Batch]] = deque()  # slot and batch, the oldest first
        for batch in batches(votes, self._size):
            if self._last.key == (votes.stage, batch.index):
                counts += self._count(self._last.classes_B, batch)
                continue
            if not free:
                slot, oldest = started.popleft()
                counts += self._collect(slot, oldest, votes.stage)
                free.append(slot)
            started.append((free.popleft(), batch))
            self._start(*started[-1], votes.stage)
        for slot, batch in started:
            counts += self._collect(slot, batch, votes.stage)
        return counts

    def _start(self, slot: int, batch: Batch, stage: Stage) -> None:
        pixels_BHWC = self._pixels[slot]
        self._noise.draw(BatchStream(self._seed, stage, batch.index), pixels_BHWC.view(-1))
        self._voter.start(slot, pixels_BHWC.add_(self._image_HWC))

    def _collect(self, slot: int, batch: Batch, stage: Stage) -> Counts:
        classes_B = self._voter.classes(slot)
        self._last = _Evaluated((stage, batch.index), classes_B)
        return self._count(classes_B, batch)

    def _count(self, classes_B: NDArray[np.int64], batch: Batch) -> Counts:
        shifted = classes_B[batch.first : batch.last] - NO_CLASS  # bincount takes no negative numbers
        return np.bincount(shifted, minlength=self.num_classes + 1)[1:].astype(np.int64)
