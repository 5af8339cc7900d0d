"""Confidence bounds on vote probabilities, and the radius they prove. All rounding is conservative.

n: votes drawn; k: votes of one class. The counts may sum to less than n (votes for no class).
alpha: failure probability of one bound. radius: l2, pixels in [0,1], like sigma.
Sources: Clopper & Pearson 1934; Cohen, Rosenfeld & Kolter 2019, theorem 1; Jeong & Shin 2020, eq. 3 and 4.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Literal

from scipy import special

from smoothcert.schemas.certificate import Look
from smoothcert.schemas.parameters import least_n
from smoothcert.votes import Counts

__all__ = [
    "LookResult",
    "ceil_to",
    "clopper_pearson_lower",
    "clopper_pearson_upper",
    "floor_to",
    "least_n",
    "most_of_others",
    "radius_between",
    "result_at_look",
    "result_of_pair",
]

# SciPy's inverse of the incomplete beta function has an error of 1.6e-12 for most arguments, but 3e-6 was
# seen at
# n = 10**7. So each bound is checked with the function itself, accurate to 1e-10, and moved outwards until it
# holds.
P_MARGIN = 1e-10  # relative to min(p, 1-p)
# Tested against exact tails down to this alpha; at 1e-300 SciPy's bounds fail far more often than alpha.
LEAST_ALPHA = 1e-200
# ndtri is accurate to a few units in the last place; the rounding of its argument adds as much.
Z_MARGIN = 1e-14  # relative to the larger quantile, plus as much absolute


def clopper_pearson_lower(k: int, n: int, alpha: float, slack: float = 0.0) -> float:
    """Lower confidence bound of p at level 1-alpha from k of n votes, rounded down.

    slack: total variation between the drawn distribution of one vote and the one that p is about.
    """
    assert 0 <= k <= n
    assert slack >= 0
    if k == 0 or alpha < LEAST_ALPHA:
        return 0.0
    inverse = float(special.betaincinv(k, n - k + 1, alpha))
    p = _moved_until(lambda p: bool(special.betainc(k, n - k + 1, p) <= alpha), inverse, -1)
    return max(0.0, math.nextafter(p - slack, 0.0))


def clopper_pearson_upper(k: int, n: int, alpha: float, slack: float = 0.0) -> float:
    """Upper confidence bound of p at level 1-alpha from k of n votes, rounded up; `slack` as above."""
    assert 0 <= k <= n
    assert slack >= 0
    if k == n or alpha < LEAST_ALPHA:
        return 1.0
    inverse = float(special.betainccinv(k + 1, n - k, alpha))
    p = _moved_until(lambda p: bool(special.betaincc(k + 1, n - k, p) <= alpha), inverse, +1)
    return min(1.0, math.nextafter(p + slack, 1.0))


def _moved_until(holds: Callable[[float], bool], p: float, direction: Literal[-1, 1]) -> float:
    """p moved by P_MARGIN times 1, 2, 4, ... until it `holds` or leaves (0, 1)."""
    margin = P_MARGIN * min(p, 1 - p)
    while 0 < (moved := p + direction * margin) < 1 and not holds(moved):
        margin *= 2
    return float(moved)


def radius_between(sigma: float, p_lower: float, p_upper: float) -> float:
    """sigma/2 * (Phi^-1(p_lower) - Phi^-1(p_upper)), rounded down; 0 unless p_lower > p_upper.

    The largest l2 radius with one class above p_lower and every other below p_upper (Cohen et al. 2019,
    theorem 1).
    """
    if not p_upper < p_lower:
        return 0.0
    high, low = float(special.ndtri(p_lower)), float(special.ndtri(p_upper))
    safe = (high - low) - Z_MARGIN * (1 + max(abs(high), abs(low)))
    return max(0.0, math.nextafter(sigma / 2 * safe, 0.0))


@dataclass(frozen=True)
class LookResult:
    """What the counts prove at one look: P(top) >= p_lower, P(any other) <= p_upper, and so the l2 radius."""

    p_lower: float
    p_upper: float
    radius: float


def result_at_look(
    counts_K: Counts, n: int, top: int, look: Look, sigma: float, *, slack: float = 0.0
) -> LookResult:
    """The result of n votes at the levels of `look`. `top` must have been chosen from other votes.

    A union bound over two events covers all K-1 other classes: the true runner-up has at most as many votes
    as the leader among the others, and the upper bound grows with k. Votes for no class count for the runner-
    up.
    """
    k_top = int(counts_K[top])
    k_next = most_of_others(counts_K, top) + n - int(counts_K.sum())
    return result_of_pair(k_top, k_next, n, look, sigma, slack=slack)


def most_of_others(counts_K: Counts, top: int) -> int:
    """The votes of the leader among the classes other than `top`; 0 where there is no other."""
    return max(int(counts_K[:top].max(initial=0)), int(counts_K[top + 1 :].max(initial=0)))


def result_of_pair(
    k_top: int, k_next: int, n: int, look: Look, sigma: float, *, slack: float = 0.0
) -> LookResult:
    """The result for k_top and k_next of n votes.

    With no alpha for the runner-up, p_upper = 1 - p_lower: the one-sided bound.
    """
    p_lower = clopper_pearson_lower(k_top, n, look.alpha - look.alpha_runner_up, slack)
    p_upper = clopper_pearson_upper(k_next, n, look.alpha_runner_up, slack)
    p_upper = min(p_upper, math.nextafter(1 - p_lower, 1.0))
    return LookResult(p_lower, p_upper, radius_between(sigma, p_lower, p_upper))


def floor_to(value: float, digits: int) -> float:
    """`value` rounded down to `digits` decimals. Every printed radius or lower bound goes through it."""
    return float(Decimal(value).quantize(Decimal(1).scaleb(-digits), ROUND_FLOOR))


def ceil_to(value: float, digits: int) -> float:
    """`value` rounded up to `digits` decimals. Every printed upper bound goes through it."""
    return float(Decimal(value).quantize(Decimal(1).scaleb(-digits), ROUND_CEILING))
