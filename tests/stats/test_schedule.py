from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoothcert.schemas.parameters import Parameters
from smoothcert.stats.bounds import result_of_pair
from smoothcert.stats.schedule import look_schedule

anytime = st.builds(
    Parameters,
    sigma=st.just(0.5),
    n=st.integers(10, 1_000_000),
    alpha=st.floats(1e-9, 0.5),
    tolerance=st.none() | st.just(0.05),
)


@given(anytime)
def test_the_looks_never_spend_more_than_alpha_to_the_last_bit(parameters: Parameters) -> None:
    spent = sum(Fraction(look.alpha) for look in look_schedule(parameters).looks)
    assert Fraction(parameters.alpha) * (1 - Fraction(1, 10**9)) < spent <= Fraction(parameters.alpha)


@given(anytime)
def test_looks_come_in_order_and_the_last_is_at_n(parameters: Parameters) -> None:
    votes = [look.n for look in look_schedule(parameters).looks]
    assert votes == sorted(set(votes))
    assert votes[-1] == parameters.n


@given(anytime)
def test_the_runner_up_has_a_part_of_each_look_only_under_its_own_bound(parameters: Parameters) -> None:
    plan = look_schedule(parameters)
    for look in plan.looks:
        assert (look.alpha_runner_up > 0) == (plan.bound == "runner_up")
        assert look.alpha_runner_up < look.alpha


def test_ninety_percent_are_kept_for_the_last_look() -> None:
    assert look_schedule(Parameters(sigma=0.5)).last.alpha == pytest.approx(0.0009, rel=1e-12)


def test_a_job_that_may_stop_early_keeps_half_for_the_last_look() -> None:
    for options in ({"target_radius": 0.5}, {"tolerance": 0.05}):
        last = look_schedule(Parameters(sigma=0.5, **options)).last
        assert last.alpha == pytest.approx(0.0005, rel=1e-12)


@pytest.mark.parametrize("procedure", ["certify", "predict"])
def test_fixed_n_procedures_look_once_with_all_of_alpha(procedure: str) -> None:
    parameters = Parameters.model_validate({"sigma": 0.5, "procedure": procedure, "tolerance": 0.05})
    (look,) = look_schedule(parameters).looks
    assert (look.n, look.alpha, look.alpha_runner_up) == (100_000, 0.001, 0)


def test_too_few_votes_to_divide_are_looked_at_once_one_sided() -> None:
    plan = look_schedule(Parameters(sigma=0.5, n=150))
    assert [look.n for look in plan.looks] == [150]
    assert plan.bound == "one_sided"


def test_the_largest_radius_is_within_a_third_of_a_percent_of_the_fixed_n_one() -> None:
    last = look_schedule(Parameters(sigma=1.0)).last
    assert 3.8115 * (1 - 0.003) < result_of_pair(100_000, 0, 100_000, last, 1.0).radius < 3.8115


def test_the_plan_knows_its_looks() -> None:
    plan = look_schedule(Parameters(sigma=0.5, n=1000))
    first, second = plan.looks[:2]
    assert plan.look_at(first.n) == first
    assert plan.look_at(first.n + 1) is None
    assert plan.next_after(0) == first
    assert plan.next_after(first.n) == second
    assert plan.next_after(1000) is None
