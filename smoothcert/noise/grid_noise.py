"""Drawing grid noise on the CPU: a table look-up for most pixels, more bits for the few that need them."""

import numpy as np
import torch
from torch import Tensor

from smoothcert.noise.streams import BatchStream
from smoothcert.noise.table import REST_BITS, UNSETTLED, NoiseTable


class GridNoise:
    """Draws `count` noise integers at a time into a caller's tensor. Holds buffers: one instance a thread."""

    def __init__(self, table: NoiseTable, count: int) -> None:
        self._table = table
        self._first_level = torch.from_numpy(table.first_level.copy())
        self._index = torch.empty(count, dtype=torch.int32)

    def draw(self, stream: BatchStream, out_N: Tensor) -> None:
        """Fill out_N (int16, contiguous, `count` elements) with independent draws of m, in steps of 1/255."""
        lanes = stream.lanes(self._index.numel())
        self._index.copy_(torch.from_numpy(lanes))
        torch.index_select(self._first_level, 0, self._index, out=out_N)
        noise = out_N.numpy()
        unsettled = np.flatnonzero(noise == UNSETTLED)
        rest = stream.words(len(unsettled)) >> np.uint64(64 - REST_BITS)
        words = (lanes[unsettled].astype(np.int64) << REST_BITS) | rest.astype(np.int64)
        noise[unsettled] = self._table.integers(words)
