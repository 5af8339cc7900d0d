"""Random streams: batch i of a stage draws from f(seed, stage, i), in any process and any order."""

import hashlib
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smoothcert.noise.table import LANE_BITS, REST_BITS, UNSETTLED, NoiseTable
from smoothcert.schemas.limits import SEED
from smoothcert.votes import Stage

_STAGE_KEY: dict[Stage, int] = {"selection": 0, "estimation": 1}
_WORDS_PER = 64 // LANE_BITS
SEED_BITS = 128

RawWords = NDArray[np.uint64]


def parse_seed(seed: str) -> int:
    """The integer of a certificate's seed: 128 bits, hexadecimal. Raises ValueError."""
    if not SEED.fullmatch(seed):
        raise ValueError(f"A seed is {SEED_BITS} bits, 32 hexadecimal digits; got {seed!r}.")
    return int(seed, 16)


class BatchStream:
    """The random bits of one batch on the CPU: SFC64, keyed by all 128 bits of the seed through SeedSequence.

    Not torch's CPU generator: a Mersenne Twister that keeps only the low 32 bits of its seed, so that streams
    of different jobs may coincide.
    """

    def __init__(self, seed: int, stage: Stage, batch: int) -> None:
        key = np.random.SeedSequence(entropy=seed, spawn_key=(_STAGE_KEY[stage], batch))
        self._bits = np.random.SFC64(key)

    def words(self, count: int) -> RawWords:
        """The next `count` words of 64 random bits, shape (count,)."""
        return np.asarray(self._bits.random_raw(count), dtype=np.uint64)

    def lanes(self, count: int) -> NDArray[np.uint16]:
        """The next 16-bit values, four from each word, shape (count,)."""
        whole = self.words(-(-count // _WORDS_PER))
        return whole.view(np.uint16)[:count]

    def normals(self, count: int) -> NDArray[np.float64]:
        """Standard normal values in float64, shape (count,). Not exact, so not for certificates."""
        return np.random.Generator(self._bits).standard_normal(count)


def device_key(seed: int, stage: Stage, batch: int, device: Literal["cuda"] = "cuda") -> int:
    """The 63-bit key of a device's Philox generator for one batch: a hash of (seed, stage, batch)."""
    text = f"smoothcert:{device}:{seed:032x}:{stage}:{batch}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


class GridNoise:
    """Draws `count` noise integers at a time. Holds buffers, so use one instance per thread."""

    def __init__(self, table: NoiseTable, count: int) -> None:
        self._table = table
        self._first_level = torch.from_numpy(table.first_level.copy())
        self._index = torch.empty(count, dtype=torch.int32)

    def draw(self, stream: BatchStream, out_N: Tensor) -> None:
        """Fill out_N (int16, contiguous, `count` elements) with independent noise in steps of 1/255."""
        lanes = stream.lanes(self._index.numel())
        self._index.copy_(torch.from_numpy(lanes))
        torch.index_select(self._first_level, 0, self._index, out=out_N)
        noise = out_N.numpy()
        unsettled = np.flatnonzero(noise == UNSETTLED)
        rest = stream.words(len(unsettled)) >> np.uint64(64 - REST_BITS)
        words = (lanes[unsettled].astype(np.int64) << REST_BITS) | rest.astype(np.int64)
        noise[unsettled] = self._table.integers(words)
