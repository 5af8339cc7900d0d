import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from smoothcert.schemas.certificate import Look
from smoothcert.stats import bounds
from smoothcert.stats.bounds import (
    ceil_to,
    clopper_pearson_lower,
    clopper_pearson_upper,
    floor_to,
    most_of_others,
    radius_between,
    result_at_look,
    result_of_pair,
)

VECTORS = [  # k, n, alpha, p_lower, its normal quantile (None: abstain)
    (100_000, 100_000, 0.001, 0.9999309248, 3.8114565634),
    (99_990, 100_000, 0.001, 0.9997586773, 3.4902076801),
    (90_000, 100_000, 0.001, 0.8970364962, 1.2648446903),
    (50_489, 100_000, 0.001, 0.4999989485, None),
    (990, 1_000, 0.001, 0.9760361872, 1.9780095821),
    (10, 10, 0.001, 0.5011872336, 0.0029759578),
    (9, 9, 0.001, 0.4641588834, None),
    (0, 1_000, 0.001, 0.0, None),
]
PAIRS = [  # k_top, k_next of 100 000 votes; one-sided and runner-up radius in units of sigma at alpha = 0.001
    (95_000, 4_000, 1.6242, 1.6750),
    (60_000, 30_000, 0.2409, 0.3754),
    (45_000, 20_000, 0.0, 0.3440),
    (99_900, 80, 3.0002, 3.0230),
]
HARD = [
    (n, k, alpha)
    for n in (10, 1_000, 100_000, 1_000_000)
    for k in (1, 2, n // 2, n - n // 100, n - 1, n)
    for alpha in (0.3, 1e-3, 3.2e-7, 1e-12)
]

counts_of_n = st.integers(1, 20_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
alphas = st.floats(1e-9, 0.5)


def one_sided(alpha: float) -> Look:
    return Look(n=100_000, alpha=alpha)


def halves(alpha: float) -> Look:
    return Look(n=100_000, alpha=alpha, alpha_runner_up=alpha / 2)


def exact_tail(k: int, n: int, p: float) -> mpmath.mpf:
    """P(Binomial(n, p) >= k) to 40 digits, summed term by term from k to the thin side."""
    p_exact = mpmath.mpf(p)
    log_choose = mpmath.loggamma(n + 1) - mpmath.loggamma(k + 1) - mpmath.loggamma(n - k + 1)
    at_k = mpmath.exp(log_choose + k * mpmath.log(p_exact) + (n - k) * mpmath.log1p(-p_exact))
    odds, upward = p_exact / (1 - p_exact), k > n * p
    total, term, i = mpmath.mpf(0), at_k, k
    while term > total * mpmath.mpf(10) ** -40 and 0 <= i <= n:
        total += term
        term *= odds * (n - i) / (i + 1) if upward else i / (odds * (n - i + 1))
        i += 1 if upward else -1
    return total if upward else 1 - (total - at_k)


@pytest.mark.parametrize(("k", "n", "alpha", "p_lower", "quantile"), VECTORS)
def test_published_vectors_hold_to_ten_digits(
    k: int, n: int, alpha: float, p_lower: float, quantile: float | None
) -> None:
    reading = result_of_pair(k, n - k, n, one_sided(alpha), 1.0)
    assert reading.p_lower == pytest.approx(p_lower, abs=1e-10)
    assert reading.radius == pytest.approx(quantile or 0.0, abs=2e-10)
    assert (reading.radius > 0) == (quantile is not None)


@pytest.mark.parametrize(("k_top", "k_next", "alone", "paired"), PAIRS)
def test_published_runner_up_examples(k_top: int, k_next: int, alone: float, paired: float) -> None:
    assert result_of_pair(k_top, k_next, 100_000, one_sided(0.001), 1.0).radius == pytest.approx(
        alone, abs=6e-5
    )
    assert result_of_pair(k_top, k_next, 100_000, halves(0.001), 1.0).radius == pytest.approx(
        paired, abs=6e-5
    )


@pytest.mark.parametrize(("n", "k", "alpha"), HARD)
def test_both_bounds_err_on_the_safe_side_of_the_exact_binomial_tail(n: int, k: int, alpha: float) -> None:
    with mpmath.workdps(60):
        lower = clopper_pearson_lower(k, n, alpha)
        assert exact_tail(k, n, lower) <= alpha
        upper = clopper_pearson_upper(n - k, n, alpha)  # P(X <= n-k) at p is P(X >= k) at 1-p
        assert upper == 1 or exact_tail(k, n, 1 - mpmath.mpf(upper)) <= alpha


@pytest.mark.parametrize(("n", "k", "alpha"), HARD)
def test_erring_on_the_safe_side_costs_less_than_a_millionth_of_alpha(n: int, k: int, alpha: float) -> None:
    with mpmath.workdps(60):
        assert exact_tail(k, n, clopper_pearson_lower(k, n, alpha)) > alpha * (1 - 1e-6)


@pytest.mark.parametrize("alpha", [1.15e-3, 7.79263289664302e-06, 1.5757910469514125e-10])
def test_bounds_hold_where_the_inverse_of_the_beta_function_does_not(alpha: float) -> None:
    n, k = 10_000_000, 9_999_001  # scipy's inverse exceeds alpha by 0.01 to 0.04 % here
    with mpmath.workdps(60):
        assert exact_tail(k, n, clopper_pearson_lower(k, n, alpha)) <= alpha


@pytest.mark.parametrize("alpha", [0.087, 0.048, 2.8343386673051172e-05, 1.2520987341300945e-05, 2.3e-06])
def test_where_a_unit_in_the_last_place_matters_bounds_are_rounded_the_safe_way(alpha: float) -> None:
    n = 10_000_000  # votes that all agree: the bound is some 1e-6 below one, and its margin less than a unit
    with mpmath.workdps(60):
        assert mpmath.mpf(clopper_pearson_lower(n, n, alpha)) ** n <= alpha
        assert (1 - mpmath.mpf(clopper_pearson_upper(0, n, alpha))) ** n <= alpha


def test_below_the_alpha_they_were_compared_at_bounds_say_nothing() -> None:
    # scipy's inverse gives 0.99928 here, where so many votes are 14 times likelier than alpha
    assert clopper_pearson_lower(999_995, 1_000_000, 1e-300) == 0
    assert clopper_pearson_upper(5, 1_000_000, 1e-300) == 1
    assert clopper_pearson_lower(999_995, 1_000_000, 1e-200) > 0.99
    assert clopper_pearson_upper(5, 1_000_000, 1e-200) < 0.01


@pytest.mark.parametrize("error", [1e-3, -1e-3])
def test_bounds_hold_whatever_the_inverse_of_the_beta_function_says(
    monkeypatch: pytest.MonkeyPatch, error: float
) -> None:
    n, k, alpha = 1000, 900, 0.001
    for name in ("betaincinv", "betainccinv"):
        inverse = getattr(bounds.special, name)
        monkeypatch.setattr(bounds.special, name, lambda *args, f=inverse: f(*args) * (1 + error))
    with mpmath.workdps(60):
        assert exact_tail(k, n, clopper_pearson_lower(k, n, alpha)) <= alpha
        assert exact_tail(k, n, 1 - mpmath.mpf(clopper_pearson_upper(n - k, n, alpha))) <= alpha


@pytest.mark.parametrize(("k", "n", "slack"), [(-1, 10, 0.0), (11, 10, 0.0), (5, 10, -1e-9)])
def test_counts_that_cannot_be_and_noise_better_than_gaussian_are_a_programmers_error(
    k: int, n: int, slack: float
) -> None:
    for bound in (clopper_pearson_lower, clopper_pearson_upper):
        with pytest.raises(AssertionError):
            bound(k, n, 0.001, slack)


@given(counts_of_n, alphas)
def test_bounds_agree_with_statsmodels(counts: tuple[int, int], alpha: float) -> None:
    k, n = counts
    low, high = proportion_confint(k, n, alpha=2 * alpha, method="beta")
    assert clopper_pearson_lower(k, n, alpha) == pytest.approx(low, rel=1e-9, abs=1e-15)
    assert clopper_pearson_upper(k, n, alpha) == pytest.approx(high, rel=1e-9)


@given(counts_of_n, alphas)
def test_the_interval_holds_the_share_of_votes(counts: tuple[int, int], alpha: float) -> None:
    k, n = counts
    assert clopper_pearson_lower(k, n, alpha) <= k / n <= clopper_pearson_upper(k, n, alpha)


@given(counts_of_n, alphas)
def test_bounds_grow_with_k(counts: tuple[int, int], alpha: float) -> None:
    k, n = counts
    for bound in (clopper_pearson_lower, clopper_pearson_upper):
        assert bound(max(k - 1, 0), n, alpha) <= bound(k, n, alpha)


@given(counts_of_n, alphas)
def test_a_smaller_alpha_proves_less(counts: tuple[int, int], alpha: float) -> None:
    k, n = counts
    assert clopper_pearson_lower(k, n, alpha / 2) <= clopper_pearson_lower(k, n, alpha)
    assert clopper_pearson_upper(k, n, alpha / 2) >= clopper_pearson_upper(k, n, alpha)


@given(counts_of_n, alphas)
def test_twice_the_votes_with_the_same_shares_prove_more(counts: tuple[int, int], alpha: float) -> None:
    k, n = counts
    if stats.binom.sf(k - 1, n, k / n) < alpha:  # alpha above one half of the tail: nothing to prove
        return
    assert clopper_pearson_lower(k, n, alpha) <= clopper_pearson_lower(2 * k, 2 * n, alpha) + 1e-12


@given(counts_of_n, alphas, st.floats(0, 0.01))
def test_slack_is_taken_off_the_lower_bound_and_put_on_the_upper_to_the_last_bit(
    counts: tuple[int, int], alpha: float, slack: float
) -> None:
    k, n = counts
    plain_lower, plain_upper = clopper_pearson_lower(k, n, alpha), clopper_pearson_upper(k, n, alpha)
    lower, upper = clopper_pearson_lower(k, n, alpha, slack), clopper_pearson_upper(k, n, alpha, slack)
    assert lower == 0 or Fraction(lower) <= Fraction(math.nextafter(plain_lower, 1)) - Fraction(slack)
    assert upper == 1 or Fraction(upper) >= Fraction(math.nextafter(plain_upper, 0)) + Fraction(slack)
    assert lower == pytest.approx(max(0, plain_lower - slack), abs=1e-15)
    assert upper == pytest.approx(min(1, plain_upper + slack), abs=1e-15)


def test_the_noises_slack_is_in_what_counts_and_pairs_prove() -> None:
    """Forgotten on the way, certificates would hold for noise that nobody drew."""
    counts_K, look = np.array([250, 700, 50]), halves(0.01)
    read = result_at_look(counts_K, 1000, 1, look, 1.0, slack=0.001)
    assert read == result_of_pair(700, 250, 1000, look, 1.0, slack=0.001)
    assert read.p_lower == clopper_pearson_lower(700, 1000, 0.005, 0.001)
    assert read.p_upper == clopper_pearson_upper(250, 1000, 0.005, 0.001)
    assert read.radius < result_at_look(counts_K, 1000, 1, look, 1.0).radius


def test_no_amount_of_slack_takes_a_probability_out_of_its_range() -> None:
    assert clopper_pearson_lower(1, 10, 0.3, 0.5) == 0
    assert clopper_pearson_upper(9, 10, 0.3, 0.5) == 1


@settings(max_examples=200)
@given(st.floats(1e-9, 1 - 1e-9), st.floats(1e-9, 1 - 1e-9), st.sampled_from([0.12, 0.25, 1.0]))
def test_the_radius_is_never_above_the_exact_one(p_lower: float, p_upper: float, sigma: float) -> None:
    radius = radius_between(sigma, p_lower, p_upper)
    if p_upper >= p_lower:
        assert radius == 0
        return
    with mpmath.workdps(40):
        exact = mpmath.mpf(sigma) / 2 * (_quantile(p_lower) - _quantile(p_upper))
        assert 0 <= radius <= exact
        assert radius >= exact - sigma * 1e-13


def _quantile(p: float) -> mpmath.mpf:
    """Phi^-1 to 40 digits; from the nearer end, so that no digits are lost."""
    if p > 0.5:
        return mpmath.sqrt(2) * mpmath.erfinv(1 - 2 * (1 - mpmath.mpf(p)))
    return -mpmath.sqrt(2) * mpmath.erfinv(1 - 2 * mpmath.mpf(p))


@given(st.integers(0, 1000), st.integers(0, 1000), st.floats(1e-6, 0.1))
def test_with_no_alpha_for_the_runner_up_the_bound_is_the_one_sided_one(
    k_top: int, k_next: int, alpha: float
) -> None:
    n = k_top + k_next + 10
    reading = result_of_pair(k_top, k_next, n, one_sided(alpha), 0.5)
    assert reading.p_upper == pytest.approx(1 - reading.p_lower, abs=1e-15)
    assert Fraction(reading.p_upper) >= 1 - Fraction(reading.p_lower)
    assert reading.radius == pytest.approx(
        max(0, 0.5 * stats.norm.ppf(stats.beta.ppf(alpha, k_top, n - k_top + 1))) if k_top else 0, abs=1e-9
    )


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 500), st.floats(1e-6, 0.1))
def test_at_the_same_lower_level_the_runner_up_bound_proves_at_least_as_much(
    k_top: int, k_next: int, rest: int, alpha: float
) -> None:
    n = k_top + k_next + rest + 1
    paired = result_of_pair(k_top, k_next, n, Look(n=n, alpha=2 * alpha, alpha_runner_up=alpha), 1.0)
    assert paired.radius >= result_of_pair(k_top, k_next, n, one_sided(alpha), 1.0).radius


def test_the_runner_up_is_the_leader_among_the_other_classes() -> None:
    counts_K = np.array([10, 700, 40, 250], dtype=np.int64)
    assert result_at_look(counts_K, 1000, 1, halves(0.01), 1.0) == result_of_pair(
        700, 250, 1000, halves(0.01), 1.0
    )


def test_where_all_votes_are_the_tops_the_others_have_none() -> None:
    for top in range(3):
        counts_K = np.zeros(3, dtype=np.int64)
        counts_K[top] = 7
        assert most_of_others(counts_K, top) == 0
    assert most_of_others(np.array([5, 7, 6]), 1) == 6
    assert most_of_others(np.array([7, 5, 6]), 2) == 7


def test_votes_for_no_class_count_for_the_runner_up() -> None:
    counts_K = np.array([700, 200, 50], dtype=np.int64)
    assert result_at_look(counts_K, 1000, 0, halves(0.01), 1.0) == result_of_pair(
        700, 250, 1000, halves(0.01), 1.0
    )


def test_a_single_class_is_certified_without_a_runner_up() -> None:
    assert result_at_look(np.array([1000]), 1000, 0, halves(0.001), 1.0).radius > 2


@given(st.floats(0, 10), st.integers(0, 8))
def test_printed_digits_never_say_more_than_was_proved(value: float, digits: int) -> None:
    assert floor_to(value, digits) <= value <= ceil_to(value, digits)
    assert Fraction(f"{floor_to(value, digits):.{digits}f}") <= Fraction(value)
    assert floor_to(value, digits) > value - 1.001 * 10**-digits


def test_a_radius_that_rounds_up_is_printed_rounded_down() -> None:
    assert f"{floor_to(0.7249999, 3):.3f}" == "0.724"
    assert f"{ceil_to(0.0001, 3):.3f}" == "0.001"
    assert math.isclose(floor_to(1.0, 3), 1.0)
