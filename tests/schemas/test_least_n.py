import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smoothcert.errors import ImpossibleRequest
from smoothcert.schemas.parameters import (
    MAX_N,
    Parameters,
    ProcedureName,
    first_look,
    has_one_look,
    largest_radius,
    least_n,
    refuse_impossible,
    shortage,
)
from smoothcert.stats.bounds import result_of_pair
from smoothcert.stats.procedure import predicts
from smoothcert.stats.schedule import look_schedule


def unanimous(parameters: Parameters) -> float:
    """The radius that n equal votes prove."""
    return result_of_pair(
        parameters.n, 0, parameters.n, look_schedule(parameters).last, parameters.sigma
    ).radius


@pytest.mark.parametrize(("procedure", "least"), [("anytime", 10), ("certify", 10), ("predict", 11)])
def test_ten_votes_are_the_least_that_certify_at_one_in_a_thousand(
    procedure: ProcedureName, least: int
) -> None:
    assert least_n(0.001, procedure) == least


@given(st.floats(1e-12, 0.6), st.sampled_from(["anytime", "certify"]))
def test_the_least_n_certifies_and_one_less_does_not(alpha: float, procedure: ProcedureName) -> None:
    least = least_n(alpha, procedure)
    enough = Parameters(sigma=0.5, procedure=procedure, alpha=alpha, n=least)
    assert unanimous(enough) > 0 or 0.5**least > alpha * (1 - 1e-8)
    if least > 1:
        assert unanimous(enough.model_copy(update={"n": least - 1})) == 0


@example(0.5)
@given(st.floats(1e-12, 0.9))
def test_the_least_n_predicts_and_one_less_does_not(alpha: float) -> None:
    least = least_n(alpha, "predict")
    assert predicts_all(least, alpha) or 2 * 0.5**least > alpha * (1 - 1e-8)
    assert not predicts_all(least - 1, alpha)


def predicts_all(n: int, alpha: float) -> bool:
    return n > 0 and predicts(np.array([n, 0]), n, alpha)


@settings(max_examples=200)
@given(
    st.floats(0.01, 3.5),
    st.floats(1e-6, 0.2),
    st.sampled_from(["anytime", "certify"]),
)
def test_the_least_n_for_a_target_proves_it_and_one_less_does_not(
    target: float, alpha: float, procedure: ProcedureName
) -> None:
    asked = Parameters(sigma=1.0, procedure=procedure, alpha=alpha, n=1, target_radius=target)
    least = shortage(asked)
    assert least is not None
    enough = asked.model_copy(update={"n": least})
    assert shortage(enough) is None
    assert unanimous(enough) >= target
    if least > least_n(alpha, procedure):
        assert unanimous(asked.model_copy(update={"n": least - 1})) < target


def test_a_possible_request_lacks_nothing() -> None:
    assert shortage(Parameters(sigma=0.5, target_radius=1.8)) is None


@pytest.mark.parametrize("radius", [4.5, 50, 1e6])
def test_nine_sigma_and_more_are_out_of_reach_of_any_real_number_of_votes(radius: float) -> None:
    least = shortage(Parameters(sigma=0.5, target_radius=radius, n=10_000_000))
    assert least is not None
    assert least > 10**18


@pytest.mark.parametrize("target", [2.6, 4.5, 50])
def test_a_target_beyond_the_most_votes_allowed_names_the_largest_radius_and_no_n(target: float) -> None:
    asked = Parameters(sigma=0.5, target_radius=target)
    with pytest.raises(ImpossibleRequest, match=r"10000000, prove at most 2\.4\d\d\.$") as raised:
        refuse_impossible(asked)
    assert raised.value.least_n is None
    assert largest_radius(asked) == pytest.approx(unanimous(asked), rel=1e-7)


def test_a_target_just_within_the_most_votes_allowed_names_their_number() -> None:
    asked = Parameters(sigma=0.5, target_radius=2.4)
    with pytest.raises(ImpossibleRequest, match="the least n is ") as raised:
        refuse_impossible(asked)
    assert raised.value.least_n is not None
    assert 1_000_000 < raised.value.least_n < MAX_N


@pytest.mark.parametrize(("alpha", "first"), [(0.001, 100), (0.5, 32), (2**-4, 40), (1e-12, 399)])
def test_the_first_look_is_at_ten_times_the_least_n_but_at_32_votes_at_least(
    alpha: float, first: int
) -> None:
    assert first_look(alpha) == first
    assert has_one_look("anytime", 2 * first - 1, alpha)
    assert not has_one_look("anytime", 2 * first, alpha)


@pytest.mark.parametrize("procedure", ["certify", "predict"])
def test_fixed_n_procedures_have_one_look_however_many_votes_they_draw(procedure: ProcedureName) -> None:
    assert has_one_look(procedure, MAX_N, 0.001)


@pytest.mark.parametrize("options", [{}, {"tolerance": 0.1}, {"procedure": "certify"}, {"n": 150}])
def test_the_largest_radius_is_the_one_that_unanimous_votes_prove(options: dict[str, Any]) -> None:
    asked = Parameters.model_validate({"sigma": 0.5} | options)
    assert largest_radius(asked) == pytest.approx(unanimous(asked), rel=1e-7)


def test_too_few_votes_have_no_largest_radius() -> None:
    assert largest_radius(Parameters(sigma=0.5, n=9)) == 0
    assert largest_radius(Parameters(sigma=0.5, n=1, alpha=0.5, procedure="certify")) == 0


def test_an_alpha_next_to_one_proves_no_infinite_radius() -> None:
    almost = Parameters(sigma=0.5, n=MAX_N, alpha=math.nextafter(1, 0), procedure="certify")
    assert largest_radius(almost) == 0


def test_a_prediction_is_never_short_of_a_radius() -> None:
    assert shortage(Parameters(sigma=0.5, procedure="predict", target_radius=50, n=11)) is None
    assert shortage(Parameters(sigma=0.5, procedure="predict", target_radius=50, n=10)) == 11


def test_what_is_missing_is_named_with_what_was_asked() -> None:
    with pytest.raises(ImpossibleRequest, match=r"n = 9 votes can never certify anything at alpha = 0\.001"):
        refuse_impossible(Parameters(sigma=0.5, n=9))
    refuse_impossible(Parameters(sigma=0.5, n=10))
    asked = Parameters(sigma=0.5, target_radius=50)
    largest = math.floor(largest_radius(asked.model_copy(update={"n": MAX_N})) * 1000) / 1000
    with pytest.raises(ImpossibleRequest, match=re.escape(f"prove at most {largest}")):
        refuse_impossible(asked)


def test_where_just_the_most_votes_allowed_are_enough_they_are_named() -> None:
    reach = largest_radius(Parameters(sigma=0.5, n=MAX_N, target_radius=1.0))
    asked = Parameters(sigma=0.5, target_radius=reach * (1 - 1e-10))
    with pytest.raises(ImpossibleRequest, match="the least n is 10000000") as raised:
        refuse_impossible(asked)
    assert raised.value.least_n == MAX_N
