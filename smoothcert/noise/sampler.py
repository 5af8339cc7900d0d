"""Votes of one image on the CPU: draws the noise, has a voter classify, counts the classes."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smoothcert.noise.grid import BatchStream, GridNoise, noise_table
from smoothcert.noise.normal import slack
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


_Key = tuple[Stage, int]  # stage and index of a batch


@dataclass(frozen=True)
class _Evaluated:
    """The last batch evaluated: a range that continues inside it reuses its classes."""

    key: _Key | None
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
        self._free = deque(range(voter.slots))
        self._started: deque[tuple[int, _Key]] = deque()  # slot and batch, the oldest first
        self._size = size
        self._image_HWC = torch.from_numpy(image_HWC.astype(np.int16))
        self._noise = GridNoise(noise_table(sigma), size * image_HWC.size)
        self._pixels = [torch.empty(voter.shape_BHWC, dtype=torch.int16) for _ in range(voter.slots)]

    def count(self, votes: VoteRange, until: int = 0) -> Counts:
        """Votes per class, shape (K,), int64. Additive over ranges; the same for the same seed.

        until: the votes from votes.stop to here are expected next. Their first batches are started, so that
        the voter stays busy until they are requested.
        """
        counts = np.zeros(self.num_classes, dtype=np.int64)
        planned = self._plan(votes, until)
        for batch in batches(votes, self._size):
            if self._last.key != (votes.stage, batch.index):
                self._fill(planned)
                self._last = self._finish_oldest()
            assert self._last.key == (votes.stage, batch.index)
            counts += self._count(self._last.classes_B, batch)
        self._fill(planned)
        return counts

    def _plan(self, votes: VoteRange, until: int) -> deque[_Key]:
        """The batches to start, in order: without the last one evaluated, and those already under way."""
        stop = max(votes.stop, until) if self._voter.slots > 1 else votes.stop
        wanted = batches(VoteRange(votes.stage, votes.start, stop), self._size)
        keys = deque((votes.stage, batch.index) for batch in wanted)
        if keys and keys[0] == self._last.key:
            keys.popleft()
        if any(key != other for (_, key), other in zip(self._started, keys, strict=False)):
            while self._started:  # other votes were expected
                self._finish_oldest()
        for _ in range(min(len(self._started), len(keys))):
            keys.popleft()
        return keys

    def _fill(self, planned: deque[_Key]) -> None:
        """Starts planned batches as long as slots are free."""
        while planned and self._free:
            self._start(self._free[0], *planned[0])
            self._started.append((self._free.popleft(), planned.popleft()))

    def _start(self, slot: int, stage: Stage, index: int) -> None:
        pixels_BHWC = self._pixels[slot]
        self._noise.draw(BatchStream(self._seed, stage, index), pixels_BHWC.view(-1))
        self._voter.start(slot, pixels_BHWC.add_(self._image_HWC))

    def _finish_oldest(self) -> _Evaluated:
        slot, key = self._started[0]
        evaluated = _Evaluated(key, self._voter.classes(slot))
        self._started.popleft()
        self._free.append(slot)
        return evaluated

    def _count(self, classes_B: NDArray[np.int64], batch: Batch) -> Counts:
        shifted = classes_B[batch.first : batch.last] - NO_CLASS  # bincount takes no negative numbers
        return np.bincount(shifted, minlength=self.num_classes + 1)[1:].astype(np.int64)
