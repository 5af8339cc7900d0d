"""Gaussian noise on the pixel grid, drawn with exactly computed probabilities from reproducible streams.

Images are uint8, so pixels lie on the grid k/255. Q rounds a real pixel to the nearest integer step (all
integers, no clipping). For x on the grid Q(x + delta) = x + m with P(m) = Phi((m+1/2)/(255 sigma)) -
Phi((m-1/2)/(255 sigma)): drawing m from that law *is* drawing Q(x + delta) for real Gaussian delta, with no
rounding anywhere. The guarantee is therefore about the smoothed classifier of f∘Q, for all real
perturbations; Q is only a part of f (Voracek & Hein, Sound Randomized Smoothing in Floating-Point
Arithmetic, ICLR 2023; docs/decisions/0002-exact-noise.md).

A draw compares 63 random bits with integer thresholds. What is left between the drawn law and P (rounded
thresholds, the tail beyond the table) is bounded by `slack` and taken from the statistics. The bits of batch
i of a stage are f(seed, stage, i), in any process and any order.

Notation: m integer noise in steps of 1/255; sigma in pixels in [0,1]; a word is 63 random bits as a
non-negative int64.
"""

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import count, takewhile
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smoothcert.noise.normal import BITS, slack_of, threshold
from smoothcert.schemas.limits import SEED, check_sigma
from smoothcert.votes import Stage

LANE_BITS = 16  # enough for most draws: one table look-up
REST_BITS = BITS - LANE_BITS
UNSETTLED = np.int16(-(2**15))  # in `first_level`: a threshold lies inside this cell, so more bits are needed
_LAST_WORD = 2**BITS - 1

Int16 = NDArray[np.int16]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class NoiseTable:
    """The distribution of m for one sigma.

    thresholds_T: sorted words; m = lowest + (number of thresholds <= word).
    cell_starts: that number at the first word of each cell: the words with the same first 16 bits.
    first_level: m for each cell, or UNSETTLED.
    """

    sigma: float
    lowest: int
    thresholds_T: Int64
    cell_starts: Int64
    first_level: Int16

    def integers(self, words_N: Int64) -> Int16:
        """The noise of these words, int16, shape (N,)."""
        padded = np.append(self.thresholds_T, [_LAST_WORD, _LAST_WORD])
        below: Int64 = self.cell_starts[words_N >> REST_BITS]
        below += padded[below] <= words_N  # enough for most cells: they hold one threshold
        again = np.flatnonzero(padded[below] <= words_N)
        below[again] = np.searchsorted(self.thresholds_T, words_N[again], side="right")
        return (below + self.lowest).astype(np.int16)

    @property
    def slack_per_pixel(self) -> float:
        """Total variation between the drawn law and P, rounded up."""
        return slack_of(len(self.thresholds_T))


@lru_cache(maxsize=16)
def noise_table(sigma: float) -> NoiseTable:
    """The table for one sigma (pixels in [0,1]). Raises InvalidRequest when sigma is out of range."""
    check_sigma(sigma)
    upper = _thresholds_above_half(Fraction(sigma))
    thresholds = np.array([2**BITS - word for word in reversed(upper)] + upper, dtype=np.int64)
    lowest = -len(upper)
    starts = np.arange(2**LANE_BITS, dtype=np.int64) << REST_BITS
    at_start = np.searchsorted(thresholds, starts, side="right")
    at_end = np.searchsorted(thresholds, starts + (2**REST_BITS - 1), side="right")
    first_level = np.where(at_start == at_end, at_start + lowest, UNSETTLED).astype(np.int16)
    return NoiseTable(sigma, lowest, thresholds, at_start, first_level)


def _thresholds_above_half(sigma: Fraction) -> list[int]:
    """The thresholds above one half and below 2^63, sorted."""
    return list(takewhile(lambda word: word < 2**BITS, (threshold(sigma, m) for m in count())))


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
