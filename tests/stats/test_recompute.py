"""The second route: agrees with the first, and with figures that neither has made; it is never above them."""

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothcert.schemas.parameters import Parameters, ProcedureName, least_n, shortage
from smoothcert.stats import recompute
from smoothcert.stats.bounds import clopper_pearson_lower, clopper_pearson_upper, radius_between
from smoothcert.stats.schedule import look_schedule


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 10_000_000), st.floats(0, 1), st.floats(1e-15, 0.99))
def test_the_bounds_of_certificates_lie_on_the_safe_side_of_the_rigorous_ones(
    n: int, share: float, alpha: float
) -> None:
    k = round(share * n)
    lower, upper = recompute.lower_bound(k, n, alpha), recompute.upper_bound(k, n, alpha)
    assert float(lower) == pytest.approx(clopper_pearson_lower(k, n, alpha), abs=1e-10)
    assert float(upper) == pytest.approx(clopper_pearson_upper(k, n, alpha), abs=1e-10)
    assert clopper_pearson_lower(k, n, alpha) <= lower
    assert clopper_pearson_upper(k, n, alpha) >= upper


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3000), st.floats(0, 1), st.floats(1e-15, 0.99))
def test_exact_tails_confirm_the_bounds_to_fourteen_digits(n: int, share: float, alpha: float) -> None:
    """Summed in 60 digits by mpmath: alpha is not exceeded at the bound, and it is just beyond."""
    k = round(share * n)
    with localcontext(prec=60):
        below = 1 - recompute.upper_bound(k, n, alpha)
        for count, bound in ((k, recompute.lower_bound(k, n, alpha)), (n - k, below)):
            if count:
                step = Decimal("1e-14") * min(bound, 1 - bound)
                assert exact_tail(count, n, bound) <= alpha < exact_tail(count, n, bound + step)


def exact_tail(k: int, n: int, p: Decimal) -> mpmath.mpf:
    with mpmath.workdps(60):
        share = mpmath.mpf(str(p))
        return mpmath.fsum(mpmath.binomial(n, i) * share**i * (1 - share) ** (n - i) for i in range(k, n + 1))


@pytest.mark.parametrize(
    ("k", "n", "alpha", "p_lower"),
    [
        (100_000, 100_000, 0.001, "0.9999309248"),
        (99_990, 100_000, 0.001, "0.9997586773"),
        (90_000, 100_000, 0.001, "0.8970364962"),
        (50_489, 100_000, 0.001, "0.4999989485"),
        (990, 1000, 0.001, "0.9760361872"),
        (10, 10, 0.001, "0.5011872336"),
        (9, 9, 0.001, "0.4641588834"),
        (0, 1000, 0.001, "0"),
    ],
)
def test_lower_bounds_are_the_published_ones(k: int, n: int, alpha: float, p_lower: str) -> None:
    assert abs(recompute.lower_bound(k, n, alpha) - Decimal(p_lower)) < Decimal("6e-11")


@settings(deadline=None)
@given(st.floats(0.001, 0.999), st.floats(0.001, 0.999))
def test_both_routes_to_the_radius_agree(p_lower: float, p_upper: float) -> None:
    proved = recompute.radius(0.5, Decimal(p_lower), Decimal(p_upper))
    assert proved == pytest.approx(radius_between(0.5, p_lower, p_upper), abs=1e-12)
    assert radius_between(0.5, p_lower, p_upper) <= proved


@given(st.integers(10, 10_000_000), st.floats(1e-6, 0.5), st.booleans())
def test_both_routes_to_the_looks_agree(n: int, alpha: float, stops_early: bool) -> None:
    plan = look_schedule(Parameters(sigma=0.5, n=n, alpha=alpha, tolerance=0.1 if stops_early else None))
    ours = [(look.n, look.alpha, look.alpha_runner_up) for look in plan.looks]
    again = recompute.looks(n, alpha, stops_early=stops_early)
    assert [votes for votes, *_ in ours] == [votes for votes, *_ in again]
    assert np.allclose(ours, again, rtol=1e-9, atol=0)


@pytest.mark.parametrize("alpha", [0.001, 0.3])
def test_bounds_of_all_or_none_of_the_votes_have_a_closed_form(alpha: float) -> None:
    assert float(recompute.lower_bound(10, 10, alpha)) == pytest.approx(alpha ** (1 / 10), rel=1e-14)
    assert float(recompute.upper_bound(0, 10, alpha)) == pytest.approx(1 - alpha ** (1 / 10), rel=1e-13)
    assert recompute.lower_bound(0, 10, alpha) == 0
    assert recompute.upper_bound(10, 10, alpha) == 1


@pytest.mark.parametrize("n", [10, 1000, 100_000])
def test_without_any_alpha_for_it_the_runner_up_may_be_anywhere(n: int) -> None:
    """Of many votes the tail is 0 to a double long before p is 1: that proves nothing."""
    assert recompute.upper_bound(3, n, 0.0) == 1


@pytest.mark.parametrize(
    ("p", "z"),
    [
        ("0.975", "1.959963984540054235524595"),
        ("0.5", "0"),
        ("0.025", "-1.959963984540054235524595"),
        ("1e-30", "-11.464024688443615727"),
        ("1e-40", "-12"),
    ],
)
def test_quantiles_are_the_tabulated_ones_up_to_twelve(p: str, z: str) -> None:
    digits = Decimal("1e-18") if Decimal(p) > Decimal("1e-3") else Decimal("1e-9")
    assert abs(recompute.normal_quantile(Decimal(p)) - Decimal(z)) < digits


def test_the_radius_is_half_of_sigma_times_the_gap_of_the_quantiles() -> None:
    high, low = Decimal("0.975"), Decimal("0.025")
    assert recompute.radius(0.25, high, low) == pytest.approx(0.25 * 1.959963984540054, rel=1e-13)
    half = Decimal("0.5")
    assert recompute.radius(0.25, half, half) == recompute.radius(0.25, Decimal("0.4"), Decimal("0.6")) == 0


@pytest.mark.parametrize(("first", "second"), [(67, 33), (33, 67), (5, 0), (1, 0), (12, 11)])
def test_how_rare_an_uneven_split_is_is_counted_out(first: int, second: int) -> None:
    n, most = first + second, max(first, second)
    ways = sum(math.comb(n, k) for k in range(most, n + 1))
    assert recompute.two_sided(first, second) == pytest.approx(float(Fraction(2 * ways, 2**n)), rel=1e-12)


def test_an_even_split_is_not_rare() -> None:
    assert recompute.two_sided(50, 50) == 1


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3_000_000), st.floats(1e-12, 0.99), st.sampled_from(["anytime", "certify", "predict"]))
def test_what_could_certify_is_what_a_request_may_ask(n: int, alpha: float, procedure: ProcedureName) -> None:
    assert recompute.could_certify(procedure, n, alpha, sigma=0.5, target=None, stops_early=False) == (
        n >= least_n(alpha, procedure)
    )


@pytest.mark.parametrize("procedure", ["anytime", "certify"])
@pytest.mark.parametrize("target", [0.1, 0.7, 1.3, 1.9])
def test_the_least_votes_for_a_target_are_those_of_a_request(procedure: ProcedureName, target: float) -> None:
    needed = shortage(Parameters(sigma=0.5, n=1, procedure=procedure, target_radius=target))
    assert needed is not None
    question = {"sigma": 0.5, "target": target, "stops_early": True}
    assert recompute.could_certify(procedure, needed, 0.001, **question)
    assert not recompute.could_certify(procedure, needed - 1, 0.001, **question)


def test_the_published_schedule_of_the_defaults() -> None:
    looks = recompute.looks(100_000, 0.001, stops_early=False)
    assert [n for n, *_ in looks[:3]] == [100, 125, 156]
    assert (len(looks), looks[-1][0]) == (32, 100_000)
    assert looks[-1][1:] == pytest.approx((0.0009, 0.00009))
    assert looks[0][1:] == pytest.approx((0.0001 / 31, 0.00001 / 31))
    assert recompute.looks(100_000, 0.001, stops_early=True)[-1][1] == pytest.approx(0.0005)


@pytest.mark.parametrize(("alpha", "first"), [(0.001, 100), (0.5, 32), (2**-8, 80)])
def test_fewer_than_two_first_looks_are_one_look(alpha: float, first: int) -> None:
    assert recompute.looks(2 * first - 1, alpha, stops_early=True) == [(2 * first - 1, alpha, 0.0)]
    assert recompute.looks(2 * first, alpha, stops_early=True)[0][0] == first


@pytest.mark.parametrize(
    ("alpha", "answers", "risk"),
    [
        (0.001, 1, "0.001"),
        (0.001, 4, "0.004"),
        (0.3, 4, "1"),
        (0.0123456789, 3, "0.0370371"),
        (1e-9, 3, "3E-9"),
    ],
)
def test_failure_probabilities_add_up_and_are_rounded_up(alpha: float, answers: int, risk: str) -> None:
    assert recompute.any_wrong(alpha, answers) == Decimal(risk)
