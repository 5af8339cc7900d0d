import itertools
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats

from smoothcert.noise.streams import BatchStream, GridNoise
from smoothcert.noise.table import REST_BITS, noise_table

SEED = 0x5EED_0F_A11_7E57


def drawn(sigma: float, count: int, batch: int = 0) -> np.ndarray:
    out = torch.empty(count, dtype=torch.int16)
    GridNoise(noise_table(sigma), count).draw(BatchStream(SEED, "estimation", batch), out)
    return out.numpy()


def exact_cells(sigma: float, values: range) -> list[float]:
    """P(m) for each value, the ends taking the tails."""

    def below(m: int) -> mpmath.mpf:
        boundary = Fraction(2 * m - 1, 510) / Fraction(sigma)
        return mpmath.ncdf(mpmath.mpf(boundary.numerator) / boundary.denominator)

    with mpmath.workdps(40):
        edges = [mpmath.mpf(0), *(below(m) for m in values[1:]), mpmath.mpf(1)]
        return [float(b - a) for a, b in itertools.pairwise(edges)]


@pytest.mark.parametrize("sigma", [0.12, 0.25, 0.5, 1.0])
def test_the_histogram_of_draws_fits_the_exact_probabilities(sigma: float) -> None:
    # A p-value below 1e-4 would be chance once in 2500 runs of these four; the seed is fixed.
    count = 8_000_000
    noise = drawn(sigma, count)
    reach = int(3.7 * 255 * sigma)  # cells expect at least ten draws; the ends collect the tails
    values = range(-reach, reach + 1)
    observed = np.bincount(np.clip(noise, -reach, reach) + reach, minlength=len(values))
    expected = np.array(exact_cells(sigma, values)) * count
    assert expected.min() > 5
    assert stats.chisquare(observed, expected * (observed.sum() / expected.sum())).pvalue > 1e-4


def test_the_tails_beyond_four_sigma_are_drawn_too() -> None:
    count, sigma = 8_000_000, 0.5
    reach = int(4.0 * 255 * sigma)
    beyond = int(np.sum(np.abs(drawn(sigma, count).astype(int)) > reach))
    expected = 2 * stats.norm.sf((reach + 0.5) / (255 * sigma)) * count  # about 500
    assert abs(beyond - expected) < 5 * np.sqrt(expected)


def test_draws_follow_the_definition_word_for_word() -> None:
    count = 200_000
    table = noise_table(1.0)
    stream = BatchStream(SEED, "estimation", 3)
    lanes = stream.lanes(count)
    rest = np.zeros(count, dtype=np.int64)
    unsettled = np.flatnonzero(table.first_level[lanes] == np.int16(-(2**15)))
    rest[unsettled] = (stream.words(len(unsettled)) >> np.uint64(64 - REST_BITS)).astype(np.int64)
    words = (lanes.astype(np.int64) << REST_BITS) | rest
    assert len(unsettled) > 1000
    assert np.array_equal(drawn(1.0, count, batch=3), table.integers(words))


def test_neighbouring_draws_and_neighbouring_batches_are_uncorrelated() -> None:
    a, b = drawn(0.5, 1_000_000, batch=7).astype(float), drawn(0.5, 1_000_000, batch=8).astype(float)
    bound = 5 / np.sqrt(1_000_000)  # five standard errors
    for first, second in [(a, b), (a[:-1], a[1:]), (a[:-4], a[4:]), (np.abs(a), np.abs(b))]:
        assert abs(np.corrcoef(first, second)[0, 1]) < bound
