"""The second route: agrees with the first, and with figures that neither has made."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothcert.schemas.parameters import Parameters
from smoothcert.stats import recompute
from smoothcert.stats.bounds import clopper_pearson_lower, clopper_pearson_upper, radius_between
from smoothcert.stats.schedule import plan_for


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 50_000), st.floats(0, 1), st.floats(1e-7, 0.3))
def test_both_routes_to_the_bounds_agree(n: int, share: float, alpha: float) -> None:
    k = round(share * n)
    assert recompute.lower_bound(k, n, alpha) == pytest.approx(clopper_pearson_lower(k, n, alpha), abs=1e-10)
    assert recompute.upper_bound(k, n, alpha) == pytest.approx(clopper_pearson_upper(k, n, alpha), abs=1e-10)


@settings(deadline=None)
@given(st.floats(0.001, 0.999), st.floats(0.001, 0.999))
def test_both_routes_to_the_radius_agree(p_lower: float, p_upper: float) -> None:
    assert recompute.radius(0.5, p_lower, p_upper) == pytest.approx(
        radius_between(0.5, p_lower, p_upper), abs=1e-12
    )


@given(st.integers(10, 10_000_000), st.floats(1e-6, 0.5), st.booleans())
def test_both_routes_to_the_looks_agree(n: int, alpha: float, stops_early: bool) -> None:
    plan = plan_for(Parameters(sigma=0.5, n=n, alpha=alpha, tolerance=0.1 if stops_early else None))
    ours = [(look.n, look.alpha, look.alpha_runner_up) for look in plan.looks]
    again = recompute.looks(n, alpha, stops_early=stops_early)
    assert [votes for votes, *_ in ours] == [votes for votes, *_ in again]
    assert np.allclose(ours, again, rtol=1e-9, atol=0)


@pytest.mark.parametrize("alpha", [0.001, 0.3])
def test_bounds_of_all_or_none_of_the_votes_have_a_closed_form(alpha: float) -> None:
    assert recompute.lower_bound(10, 10, alpha) == pytest.approx(alpha ** (1 / 10), rel=1e-14)
    assert recompute.upper_bound(0, 10, alpha) == pytest.approx(1 - alpha ** (1 / 10), rel=1e-13)
    assert recompute.lower_bound(0, 10, alpha) == 0
    assert recompute.upper_bound(10, 10, alpha) == 1


@pytest.mark.parametrize("n", [10, 1000, 100_000])
def test_without_any_alpha_for_it_the_runner_up_may_be_anywhere(n: int) -> None:
    """Of many votes the tail is 0 to a double long before p is 1: that proves nothing."""
    assert recompute.upper_bound(3, n, 0.0) == 1


@pytest.mark.parametrize(
    ("p", "z"),
    [(0.975, 1.959963984540054), (0.5, 0.0), (0.025, -1.959963984540054), (1e-300, -37.0470962993611992)],
)
def test_quantiles_are_the_tabulated_ones(p: float, z: float) -> None:
    assert recompute.normal_quantile(p) == pytest.approx(z, rel=1e-13, abs=1e-15)


def test_the_radius_is_half_of_sigma_times_the_gap_of_the_quantiles() -> None:
    assert recompute.radius(0.25, 0.975, 0.025) == pytest.approx(0.25 * 1.959963984540054, rel=1e-13)
    assert recompute.radius(0.25, 0.5, 0.5) == recompute.radius(0.25, 0.4, 0.6) == 0


@pytest.mark.parametrize(("first", "second"), [(67, 33), (33, 67), (5, 0), (1, 0), (12, 11)])
def test_how_rare_an_uneven_split_is_is_counted_out(first: int, second: int) -> None:
    n, most = first + second, max(first, second)
    ways = sum(math.comb(n, k) for k in range(most, n + 1))
    assert recompute.two_sided(first, second) == pytest.approx(float(Fraction(2 * ways, 2**n)), rel=1e-12)


def test_an_even_split_is_not_rare() -> None:
    assert recompute.two_sided(50, 50) == 1


def test_bisection_finds_the_last_bit() -> None:
    for edge in (0.1, 1 / 3, 1e-9):
        assert recompute.smallest(lambda x, edge=edge: x >= edge, 0.0, 1.0) == edge


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
