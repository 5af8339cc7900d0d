"""Cohen et al.'s PREDICT: a class or an abstention."""

import numpy as np
import pytest

from smoothcert.stats.procedure import Certification, predicts
from smoothcert.votes import VoteRange
from tests.support.certifying import SURE, asked, certify


def test_it_names_the_class_without_a_radius_from_estimation_votes_alone() -> None:
    result = certify(asked(procedure="predict", target_radius=0.5), SURE)
    assert (result.outcome, result.predicted_class, result.radius) == ("certified", 1, 0)
    assert (result.p_lower, result.p_upper, result.target_met) == (0, 1, None)
    assert result.selection_counts == (0, 0, 0)
    assert result.n == 5000


def test_it_abstains_on_a_tie() -> None:
    assert not predicts(np.array([50, 50]), 100, 0.9)


@pytest.mark.parametrize(("first", "says"), [(67, True), (66, False)])
def test_the_two_sided_test_of_the_top_two_decides(first: int, says: bool) -> None:
    # binomial(100, 1/2): P(>= 67) = 0.00044 and P(>= 66) = 0.00090, to be doubled and held against 0.001
    assert predicts(np.array([100 - first, 0, first]), 100, 0.001) is says


@pytest.mark.parametrize("n", [5, 11, 40])
def test_a_p_value_that_equals_alpha_is_no_prediction(n: int) -> None:
    assert not predicts(np.array([n, 0]), n, 2 * 0.5**n)
    assert predicts(np.array([n, 0]), n, 2 * 0.5**n * (1 + 1e-9))


def test_votes_for_no_class_count_against_the_leader() -> None:
    assert predicts(np.array([60, 30]), 90, 0.01)
    assert not predicts(np.array([60, 30]), 120, 0.01)
    assert not predicts(np.array([60, 0]), 200, 0.01)


def test_a_class_without_rivals_is_predicted() -> None:
    assert predicts(np.array([11]), 11, 0.001)


def test_slack_in_the_noise_counts_against_the_leader() -> None:
    assert not predicts(np.array([67, 33]), 100, 0.001, slack=2e-6)


@pytest.mark.parametrize(("slack", "outcome"), [(0.0, "certified"), (1e-4, "abstained")])
def test_noise_far_from_a_gaussian_predicts_nothing(slack: float, outcome: str) -> None:
    certification = Certification(asked(procedure="predict", n=100), 2, slack=slack)
    certification.add(VoteRange("estimation", 0, 100), np.array([90, 10]))
    assert certification.result.outcome == outcome
