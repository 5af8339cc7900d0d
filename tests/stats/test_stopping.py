"""When to stop: never before the wish is met or lost, and not a look later."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from smoothcert.schemas.certificate import Look
from smoothcert.schemas.parameters import Parameters
from smoothcert.stats import recompute
from smoothcert.stats.bounds import result_of_pair
from smoothcert.stats.schedule import is_enough, optimistic_radius

N = 2000
LAST = Look(n=N, alpha=0.001, alpha_runner_up=0.0001)


def optimistic(counts: list[int], top: int = 0, drawn: int | None = None) -> float:
    counts_K: NDArray[np.int64] = np.array(counts)
    return optimistic_radius(counts_K, sum(counts) if drawn is None else drawn, top, LAST, 0.5)


def full(k_top: int, k_next: int) -> float:
    """The radius that these votes of N prove."""
    return result_of_pair(k_top, k_next, N, LAST, 0.5).radius


def wish(target: float | None = None, tolerance: float | None = None) -> Parameters:
    return Parameters(sigma=0.5, target_radius=target, tolerance=tolerance)


def test_when_all_votes_are_drawn_nothing_is_left_to_hope_for() -> None:
    assert optimistic([1800, 50, 150]) == full(1800, 150)
    assert optimistic([50, 1700, 250], top=1) == full(1700, 250)


def test_who_has_all_votes_so_far_may_have_all_of_them_in_the_end() -> None:
    assert optimistic([100, 0]) == full(N, 0)


def test_no_more_votes_than_are_left_are_hoped_for() -> None:
    """Ten votes are left: the leader can't get more, whatever its share; nobody's votes need not go on."""
    assert optimistic([1500, 0], drawn=1990) <= full(1510, 0)
    assert optimistic([1990, 0]) == full(2000, 0)


@pytest.mark.parametrize("counts", [[90, 10, 100], [140, 30, 30], [600, 300, 50], [1200, 80, 20], [7, 4, 5]])
def test_the_leader_gets_its_upper_limit_of_what_is_left_and_the_runner_up_its_lower(
    counts: list[int],
) -> None:
    drawn, k_next = sum(counts), max(counts[1:])
    more_top = math.ceil((N - drawn) * recompute.upper_bound(counts[0], drawn, 0.01))
    more_next = math.floor((N - drawn) * recompute.lower_bound(k_next, drawn, 0.01))
    assert optimistic(counts) == full(counts[0] + more_top, k_next + more_next)


@pytest.mark.parametrize("p_top", [0.55, 0.8, 0.97])
def test_what_is_proved_in_the_end_is_rarely_above_what_was_hoped_for(p_top: float) -> None:
    # Each of the two limits fails with probability 0.01, so at most 2 % of runs, 40 of 2000; more than 75
    # would be chance once in 10 million seeds.
    rng, runs, disappointed = np.random.default_rng(7), 2000, 0
    for _ in range(runs):
        early = rng.multinomial(200, [p_top, 1 - p_top])
        late = rng.multinomial(N - 200, [p_top, 1 - p_top])
        disappointed += full(*(early + late).tolist()) > optimistic(early.tolist())
    assert disappointed <= 75


@pytest.mark.parametrize("p_top", [0.55, 0.8, 0.97])
def test_hope_is_not_boundless(p_top: float) -> None:
    """A tenth of the votes tells the final radius to within what three standard errors of them are worth."""
    early = round(p_top * 200)
    spread = 3 * np.sqrt(p_top * (1 - p_top) / 200)
    luckiest = min(1.0, p_top + spread)
    assert full(round(p_top * N), round((1 - p_top) * N)) < optimistic([early, 200 - early])
    assert optimistic([early, 200 - early]) <= full(round(luckiest * N), round((1 - luckiest) * N))


@pytest.mark.parametrize(
    ("proved", "hoped", "stops"),
    [
        (0.5, 0.9, True),  # met, to the last bit
        (0.4999, 0.9, False),
        (0.1, 0.4999, True),  # out of reach
        (0.1, 0.5, False),  # within reach, to the last bit
    ],
)
def test_a_target_stops_when_it_is_met_or_out_of_reach(proved: float, hoped: float, stops: bool) -> None:
    assert is_enough(wish(target=0.5), proved, hoped) is stops


@pytest.mark.parametrize(
    ("proved", "hoped", "stops"), [(0.75, 1.0, True), (0.74, 1.0, False), (0.0, 0.0, True)]
)
def test_a_tolerance_stops_when_no_more_than_its_share_is_missing(
    proved: float, hoped: float, stops: bool
) -> None:
    assert is_enough(wish(tolerance=0.25), proved, hoped) is stops


def test_of_two_wishes_the_one_that_comes_first_stops() -> None:
    assert is_enough(wish(target=0.5, tolerance=0.25), proved=0.6, optimistic=5.0)
    assert is_enough(wish(target=0.9, tolerance=0.25), proved=0.8, optimistic=1.0)
    assert not is_enough(wish(target=0.9, tolerance=0.25), proved=0.6, optimistic=1.0)


def test_who_wishes_nothing_gets_every_vote() -> None:
    assert not is_enough(wish(), proved=1.0, optimistic=1.0)
