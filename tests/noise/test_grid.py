import itertools
import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats

from smoothcert.errors import InvalidRequest
from smoothcert.noise.grid import (
    REST_BITS,
    UNSETTLED,
    BatchStream,
    GridNoise,
    NoiseTable,
    device_key,
    noise_table,
    parse_seed,
)
from smoothcert.noise.normal import BITS, slack
from smoothcert.votes import Stage

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


SEED = 0x0123456789ABCDEF_FEDCBA9876543210
KEYS: list[tuple[int, Stage, int]] = [
    (seed, stage, batch)
    for seed in (SEED, SEED + 1, SEED + 2**32, SEED + 2**64, SEED ^ 2**127, 0)
    for stage in ("selection", "estimation")
    for batch in (0, 1, 2, 2**31, 2**32)
]


def test_a_stream_is_a_function_of_seed_stage_and_batch() -> None:
    first, again = (BatchStream(SEED, "estimation", 5).words(1000) for _ in range(2))
    assert np.array_equal(first, again)


@pytest.mark.parametrize(
    ("stage", "words", "key"),
    [
        ("selection", [0x515900B1B8C74E73, 0xD9CAE3B935F2052F], 0x1DB99ACE4E33DA44),
        ("estimation", [0xA2E1B0E67E04D35A, 0xA076484475C49E97], 0x66973804DBFDC0CF),
    ],
)
def test_streams_stay_what_they_were_so_that_old_certificates_can_be_replayed(
    stage: Stage, words: list[int], key: int
) -> None:
    assert BatchStream(SEED, stage, 5).words(2).tolist() == words
    assert device_key(SEED, stage, 5) == key


def test_streams_of_different_keys_share_no_words() -> None:
    words = np.concatenate([BatchStream(*key).words(1000) for key in KEYS])
    assert len(np.unique(words)) == len(words)


def test_device_keys_of_different_triples_differ_and_fit_a_signed_word() -> None:
    keys = {device_key(*key) for key in KEYS}
    assert len(keys) == len(KEYS)
    assert all(0 <= key < 2**63 for key in keys)


def test_lanes_use_every_bit_of_the_words() -> None:
    words = BatchStream(SEED, "selection", 0).words(3)
    lanes = BatchStream(SEED, "selection", 0).lanes(10)
    assert np.array_equal(lanes, words.view(np.uint16)[:10])


def test_a_seed_is_hexadecimal_of_128_bits() -> None:
    assert parse_seed(f"{SEED:032x}") == SEED
    assert parse_seed("0" * 32) == 0
    assert parse_seed("f" * 32) == 2**128 - 1
    for bad in ("", "xyz", "-1", "1" + "0" * 32):
        with pytest.raises(ValueError):  # noqa: PT011  (any message: int() has its own)
            parse_seed(bad)


@pytest.mark.parametrize("count", [0, 1, 4, 5, 4001])
def test_as_many_lanes_are_drawn_as_are_asked_for(count: int) -> None:
    assert BatchStream(SEED, "estimation", 0).lanes(count).shape == (count,)


def test_lanes_take_no_more_words_than_they_need() -> None:
    stream = BatchStream(SEED, "selection", 0)
    stream.lanes(8)
    assert stream.words(1) == BatchStream(SEED, "selection", 0).words(3)[2]


def test_normal_values_are_normal() -> None:
    values = BatchStream(SEED, "estimation", 1).normals(100_000)
    assert values.shape == (100_000,)
    assert stats.kstest(values, "norm").pvalue > 1e-4  # fixed seed: passes or does not


NOISE_SEED = 0x5EED_0F_A11_7E57


def drawn(sigma: float, count: int, batch: int = 0) -> np.ndarray:
    out = torch.empty(count, dtype=torch.int16)
    GridNoise(noise_table(sigma), count).draw(BatchStream(NOISE_SEED, "estimation", batch), out)
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
    stream = BatchStream(NOISE_SEED, "estimation", 3)
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
