"""Gaussian noise on the pixel grid, drawn with exactly computed probabilities.

Images are uint8, so pixels lie on the grid k/255. Q rounds a real pixel to the nearest integer step (all
integers, no clipping). For x on the grid Q(x + delta) = x + m with P(m) = Phi((m+1/2)/(255 sigma)) -
Phi((m-1/2)/(255 sigma)): drawing m from that law *is* drawing Q(x + delta) for real Gaussian delta, with no
rounding anywhere. The guarantee is therefore about the smoothed classifier of f∘Q, for all real
perturbations; Q is only a part of f (Voracek & Hein, Sound Randomized Smoothing in Floating-Point
Arithmetic, ICLR 2023; docs/decisions/0002-exact-noise.md).

A draw compares 63 random bits with integer thresholds. What is left between the drawn law and P (rounded
thresholds, the tail beyond the table) is bounded by `slack` and taken from the statistics.

Legend: m integer noise in steps of 1/255; sigma in pixels in [0,1]; a word is 63 random bits as a
non-negative int64.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from certification.errors import UserMistake
from certification.normal import scaled_cumulative

BITS = 63
LANE_BITS = 16  # most draws are settled by this many bits: one table look-up
REST_BITS = BITS - LANE_BITS
UNSETTLED = np.int16(-(2**15))  # in `first_level`: a threshold lies inside this cell, more bits are needed
_LAST_WORD = 2**BITS - 1
LARGEST_SIGMA = 12.0  # beyond it x + m would not fit 16 bits

Int16 = NDArray[np.int16]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class NoiseTable:
    """The law of m for one sigma.

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
        """The noise that these words stand for, int16."""
        padded = np.append(self.thresholds_T, [_LAST_WORD, _LAST_WORD])
        below: Int64 = self.cell_starts[words_N >> REST_BITS]
        below += padded[below] <= words_N  # enough for most cells: they hold one threshold
        again = np.flatnonzero(padded[below] <= words_N)
        below[again] = np.searchsorted(self.thresholds_T, words_N[again], side="right")
        return (below + self.lowest).astype(np.int16)

    @property
    def slack_per_pixel(self) -> float:
        """Total variation between the drawn law and P, rounded up.

        Clipping: thresholds left out lie within half a unit of 0 or 1, so at most one unit (2^-63) of mass
        moves on each side. Rounding: each threshold is off by less than one unit, and moves at most that
        much mass.
        """
        return (len(self.thresholds_T) + 2) * 2.0**-BITS


@lru_cache(maxsize=16)
def noise_table(sigma: float) -> NoiseTable:
    """The table for one sigma (pixels in [0,1]). Raises UserMistake when sigma is not in (0, 12]."""
    if not 0 < sigma <= LARGEST_SIGMA:
        raise UserMistake(
            f"sigma must be above 0 and at most {LARGEST_SIGMA:g}, in pixels scaled to [0,1]; got {sigma}."
        )
    upper = _thresholds_above_half(Fraction(sigma))
    thresholds = np.array([2**BITS - word for word in reversed(upper)] + upper, dtype=np.int64)
    lowest = -len(upper)
    starts = np.arange(2**LANE_BITS, dtype=np.int64) << REST_BITS
    at_start = np.searchsorted(thresholds, starts, side="right")
    at_end = np.searchsorted(thresholds, starts + (2**REST_BITS - 1), side="right")
    first_level = np.where(at_start == at_end, at_start + lowest, UNSETTLED).astype(np.int16)
    return NoiseTable(sigma, lowest, thresholds, at_start, first_level)


def slack(sigma: float, num_pixels: int) -> float:
    """How far the probability of any event about one noisy image may be off, rounded up.

    To be taken from lower and added to upper bounds. num_pixels is C*H*W. 2e-13 for MNIST at sigma 0.5,
    8e-11 for 224x224 colour images at sigma 1.
    """
    return float(np.nextafter(noise_table(sigma).slack_per_pixel * num_pixels, 1.0))


def _thresholds_above_half(sigma: Fraction) -> list[int]:
    """round(2^63 * Phi((m - 1/2) / (255 sigma))) for m = 1, 2, ... while below 2^63: sorted."""
    words: list[int] = []
    while True:
        boundary = Fraction(2 * len(words) + 1, 510) / sigma
        word = scaled_cumulative(boundary, BITS)
        if word >= 2**BITS:
            return words
        words.append(word)
