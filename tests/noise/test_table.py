import itertools
import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest

from smoothcert.errors import InvalidRequest
from smoothcert.noise.normal import BITS, slack
from smoothcert.noise.table import REST_BITS, UNSETTLED, NoiseTable, noise_table

SIGMAS = [0.12, 0.25, 0.5, 1.0]


def exact_below(m: int, sigma: float) -> mpmath.mpf:
    """P(noise < m) by mpmath, for the double that sigma is."""
    boundary = Fraction(2 * m - 1, 510) / Fraction(sigma)
    return mpmath.ncdf(mpmath.mpf(boundary.numerator) / boundary.denominator)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_every_threshold_is_the_nearest_integer_to_the_exact_probability(sigma: float) -> None:
    table = noise_table(sigma)
    with mpmath.workdps(60):
        for i, threshold in enumerate(table.thresholds_T.tolist()):
            error = threshold - exact_below(table.lowest + i + 1, sigma) * 2**BITS
            assert abs(error) <= mpmath.mpf("0.5") + mpmath.mpf(10) ** -15


@pytest.mark.parametrize("sigma", SIGMAS)
def test_what_the_table_leaves_out_is_below_one_unit_on_each_side(sigma: float) -> None:
    table = noise_table(sigma)
    with mpmath.workdps(60):
        assert exact_below(table.lowest, sigma) * 2**BITS < 1
        assert table.lowest == -(len(table.thresholds_T) // 2)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_slack_covers_the_exact_total_variation(sigma: float) -> None:
    table = noise_table(sigma)
    steps = [0, *table.thresholds_T.tolist(), 2**BITS]
    with mpmath.workdps(60):
        drawn = [mpmath.mpf(b - a) / 2**BITS for a, b in itertools.pairwise(steps)]
        values = range(table.lowest, table.lowest + len(drawn))
        exact = [exact_below(m + 1, sigma) - exact_below(m, sigma) for m in values]
        tails = exact_below(table.lowest, sigma) + (1 - exact_below(values[-1] + 1, sigma))
        variation = (sum(abs(p - q) for p, q in zip(drawn, exact, strict=True)) + tails) / 2
        assert 0 < variation < table.slack_per_pixel < 1e-14


def test_a_table_is_worked_out_once() -> None:
    assert noise_table(0.5) is noise_table(0.5)


def test_slack_grows_with_the_pixels_and_stays_negligible() -> None:
    assert slack(0.5, 784) < 1e-12
    assert slack(1.0, 3 * 224 * 224) < 1e-10
    assert slack(0.5, 2 * 784) >= 2 * 784 * noise_table(0.5).slack_per_pixel


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_first_level_answers_only_where_all_words_agree(sigma: float) -> None:
    table = noise_table(sigma)
    starts = np.arange(2**16, dtype=np.int64) << REST_BITS
    at_start, at_end = table.integers(starts), table.integers(starts + (2**REST_BITS - 1))
    settled = table.first_level != UNSETTLED
    assert np.array_equal(settled, at_start == at_end)
    assert np.array_equal(table.first_level[settled], at_start[settled])
    assert np.mean(~settled) < 0.05  # the fast path is the common one


def edges(table: NoiseTable) -> np.ndarray:
    return np.concatenate([table.thresholds_T - 1, table.thresholds_T])


@pytest.mark.parametrize("sigma", [1e-4, 0.01, 0.25, 1.0, 6.0])
def test_integers_count_the_thresholds_at_or_below_the_word(sigma: float) -> None:
    table = noise_table(sigma)
    ends = np.array([0, 1, 2**63 - 2, 2**63 - 1])
    anywhere = np.random.default_rng(4).integers(0, 2**63 - 1, 10_000)
    words = np.concatenate([edges(table), ends, anywhere])
    counted = np.searchsorted(table.thresholds_T, words, side="right")
    assert np.array_equal(table.integers(words), counted + table.lowest)


def test_a_word_just_below_a_threshold_gives_the_smaller_integer() -> None:
    table = noise_table(0.5)
    below, at = np.split(table.integers(edges(table)), 2)
    middle = slice(100, -100)  # further out, thresholds coincide
    assert np.array_equal(at[middle], below[middle] + 1)
    assert int(table.integers(np.array([0]))[0]) == table.lowest
    assert int(table.integers(np.array([2**63 - 1]))[0]) == -table.lowest


@pytest.mark.parametrize("sigma", [0.0, -1.0, 12.5, float("nan"), float("inf")])
def test_a_sigma_out_of_range_raises_invalid_request(sigma: float) -> None:
    with pytest.raises(InvalidRequest, match="sigma"):
        noise_table(sigma)


@pytest.mark.parametrize("sigma", [1e-4, 12.0])
def test_extreme_sigmas_fit_sixteen_bits(sigma: float) -> None:
    table = noise_table(sigma)
    assert table.lowest - 255 > -(2**15)
    assert table.lowest + len(table.thresholds_T) + 255 < 2**15


@pytest.mark.parametrize("sigma", [1e-4, 2.1e-4, 3e-4, 0.01, 0.25, 0.5, 1.0, 1.7])
def test_the_slack_is_known_without_the_table(sigma: float) -> None:
    whole = math.nextafter(noise_table(sigma).slack_per_pixel * 784, 1.0)
    assert slack(sigma, 784) == whole
