"""What is expected of a certification after its first votes, beside what it comes to."""

import math
from typing import Any

import numpy as np
import pytest

from smoothcert.schemas.job import Forecast
from smoothcert.schemas.parameters import Parameters, largest_radius
from smoothcert.stats.forecast import forecast
from smoothcert.stats.procedure import Certification, drive
from smoothcert.testing import KnownVotes

SPEED = 1000.0  # votes a second


def begun(shares: list[float], seed: int = 0, first: int = 2000, **wish: Any) -> Certification:
    """A certification after `first` estimation votes."""
    certification = Certification(Parameters(sigma=0.5, **wish), len(shares))
    for progress in drive(certification, KnownVotes(shares, seed), 500):
        if progress.samples >= first:
            break
    return certification


def completed(certification: Certification, shares: list[float], seed: int = 0) -> Certification:
    for _ in drive(certification, KnownVotes(shares, seed), 100_000):
        pass
    return certification


def expected(certification: Certification, seconds_left: float = math.inf) -> Forecast:
    made = forecast(certification, SPEED, seconds_left)
    assert made is not None
    return made


@pytest.mark.parametrize("shares", [[0.7, 0.3], [0.9, 0.05, 0.05], [0.02, 0.98], [0.4, 0.2, 0.2, 0.2]])
@pytest.mark.parametrize("procedure", ["anytime", "certify"])
def test_the_radius_comes_near_the_one_that_is_reached(shares: list[float], procedure: str) -> None:
    """Errors of the share of votes at 2000 votes are 1 % (one standard deviation); ten seeds."""
    errors = []
    for seed in range(10):
        certification = begun(shares, seed, n=50_000, procedure=procedure)
        made = expected(certification)
        assert (made.votes, made.seconds) == (50_000, 50.0)
        assert made.radius is not None
        reached = completed(certification, shares, seed).result.radius
        errors.append(made.radius - reached)
    assert abs(np.median(errors)) < 0.02
    assert max(map(abs, errors)) < 0.08


def test_where_all_votes_agree_nearly_the_largest_radius_is_expected() -> None:
    certification = begun([1.0, 0.0], n=100_000)
    radius, most = expected(certification).radius, largest_radius(certification.parameters)
    assert radius is not None
    assert 0.9 * most < radius < most


def test_divided_votes_let_an_abstention_be_expected() -> None:
    made = expected(begun([0.34, 0.33, 0.33], n=10_000))
    assert made.radius == 0
    assert made.in_words == "an abstention with 10 000 votes, 10 s"


def test_a_radius_that_is_proved_already_is_expected_at_least() -> None:
    certification = begun([0.9, 0.1], n=100_000)
    made = forecast(certification, SPEED, seconds_left=0.0)
    assert made is not None
    assert made.radius == certification.result.radius > 0
    assert made.votes == certification.state.estimation.drawn


def test_a_deadline_limits_the_votes_and_so_the_radius() -> None:
    certification = begun([0.0, 1.0], n=1_000_000)
    drawn = certification.state.estimation.drawn
    short, long = expected(certification, 3.0), expected(certification)
    assert (short.votes, long.votes) == (drawn + 3000, 1_000_000)
    assert short.radius is not None
    assert long.radius is not None
    assert certification.result.radius < short.radius < long.radius


@pytest.mark.parametrize(
    ("shares", "wish"),
    [
        ([0.95, 0.05], {"target_radius": 0.6}),
        ([0.8, 0.2], {"target_radius": 0.6}),
        ([0.9, 0.1], {"tolerance": 0.05}),
    ],
    ids=["reached", "hopeless", "tolerance"],
)
def test_an_early_end_is_expected_about_where_it_comes(shares: list[float], wish: dict[str, float]) -> None:
    """After 100 votes the share is known to 3 %: within a factor of four."""
    certification = begun(shares, first=100, n=1_000_000, **wish)
    made = expected(certification)
    drawn = completed(certification, shares).result.drawn
    assert drawn < 100_000
    assert drawn / 4 < made.votes < drawn * 4


def test_a_procedure_without_a_radius_has_votes_and_time_only() -> None:
    made = expected(begun([0.9, 0.1], n=10_000, procedure="predict"))
    assert made.radius is None
    assert made.in_words == "about 10 000 votes, 10 s"


def test_votes_for_no_class_count_against_it() -> None:
    with_them, without = expected(begun([0.8, 0.1], n=10_000)), expected(begun([0.8, 0.2], n=10_000))
    assert with_them.radius == pytest.approx(without.radius, abs=0.05)


def test_nothing_is_expected_before_the_class_is_chosen_at_the_end_and_without_a_speed() -> None:
    fresh = Certification(Parameters(sigma=0.5, n=1000), 2)
    assert forecast(fresh, SPEED) is None
    assert forecast(begun([0.9, 0.1], n=10_000), 0.0) is None
    assert forecast(completed(fresh, [0.9, 0.1]), SPEED) is None


def test_it_is_told_in_words() -> None:
    assert Forecast(radius=1.2, votes=100_000, seconds=6.2).in_words == (
        "about radius 1.20 with 100 000 votes, 6 s"
    )
    assert Forecast(radius=0.5, votes=900, seconds=0.1).in_words == "about radius 0.50 with 900 votes, 1 s"
