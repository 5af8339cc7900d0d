"""When the counts are looked at and what each look spends of alpha, fixed before the first vote.

Taking a plain bound at several looks and keeping the best is invalid; here the looks' alphas sum to at
most alpha, so by Bonferroni every bound of every look holds at once. docs/decisions/0003 has the numbers
behind the constants.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

from smoothcert.schemas.certificate import Bound, Look
from smoothcert.schemas.parameters import RUNNER_UP_SHARE, Parameters, final_share, first_look, has_one_look
from smoothcert.stats.bounds import (
    clopper_pearson_lower,
    clopper_pearson_upper,
    most_of_others,
    result_of_pair,
)
from smoothcert.votes import Counts

RATIO = 1.25  # votes at a look over votes at the one before

DOUBT = 0.01  # per look: probability that p lies beyond the confidence limit that optimistic_radius takes


@dataclass(frozen=True)
class LookSchedule:
    """The looks in order, the last at n, and the bound that reads the counts there."""

    looks: tuple[Look, ...]
    bound: Bound

    @property
    def last(self) -> Look:
        return self.looks[-1]

    def look_at(self, n: int) -> Look | None:
        """The look after exactly n votes, if there is one."""
        return next((look for look in self.looks if look.n == n), None)

    def next_after(self, n: int) -> Look | None:
        """The first look that more than n votes lead to."""
        return next((look for look in self.looks if look.n > n), None)


def look_schedule(parameters: Parameters) -> LookSchedule:
    """The looks of one certification: a function of the parameters alone, never of the votes.

    `certify` and `predict` look once, at n, with all of alpha; so does `anytime` where n is too small to
    divide.
    """
    n, alpha = parameters.n, parameters.alpha
    if has_one_look(parameters.procedure, n, alpha):
        return LookSchedule((Look(n=n, alpha=alpha),), "one_sided")
    return LookSchedule(_spend(_geometric(first_look(alpha), n), alpha, final_share(parameters)), "runner_up")


def _geometric(first: int, n: int) -> list[int]:
    """Votes at the looks: a geometric sequence of ratio about RATIO from `first` to exactly n >= 2*first."""
    steps = round(math.log(n / first, RATIO))
    return [round(first * (n / first) ** (i / steps)) for i in range(steps)] + [n]


def _spend(votes: list[int], alpha: float, final: float) -> tuple[Look, ...]:
    """Split alpha: the share `final` for the last look, the rest evenly. The exact sum is at most alpha."""
    early = (1 - final) * alpha / (len(votes) - 1)
    last = _rounded_down(Fraction(alpha) - Fraction(early) * (len(votes) - 1))
    return (*(_look(n, early) for n in votes[:-1]), _look(votes[-1], last))


def _look(n: int, alpha: float) -> Look:
    return Look(n=n, alpha=alpha, alpha_runner_up=alpha * RUNNER_UP_SHARE)


def _rounded_down(exact: Fraction) -> float:
    value = float(exact)
    return value if Fraction(value) <= exact else math.nextafter(value, 0.0)


def optimistic_radius(counts_K: Counts, drawn: int, top: int, last: Look, sigma: float) -> float:
    """The radius the last look would prove under the most favourable votes that the counts allow.

    Takes P(top) at its upper confidence limit and P(runner-up) at its lower one, each at level 1-DOUBT, and
    assumes the remaining votes in those shares. After n votes it is the radius of the last look.
    Radius and sigma: l2, pixels in [0,1].
    """
    left = last.n - drawn
    k_top = int(counts_K[top])
    k_next = most_of_others(counts_K, top)
    more_next = math.floor(left * clopper_pearson_lower(k_next, drawn, DOUBT))
    more_top = min(left - more_next, math.ceil(left * clopper_pearson_upper(k_top, drawn, DOUBT)))
    return result_of_pair(k_top + more_top, k_next + more_next, last.n, last, sigma).radius


def is_enough(parameters: Parameters, proved: float, optimistic: float) -> bool:
    """Whether to stop at a look. proved: the best radius so far; optimistic: the radius n votes might prove.

    With a target radius: it is proved or out of reach. With a tolerance: the share of the optimistic radius
    that is missing is at most the tolerance (true at 0 of 0). With both: either condition.
    """
    target, tolerance = parameters.target_radius, parameters.tolerance
    if target is not None and (proved >= target or optimistic < target):
        return True
    return tolerance is not None and proved >= (1 - tolerance) * optimistic
