"""When the counts are looked at and what each look spends of alpha, fixed before the first vote.

Reading a plain bound at several looks and keeping the best is invalid; here the looks' alphas sum to at
most alpha, so by Bonferroni every bound of every look holds at once. docs/decisions/0003 has the numbers
behind the constants.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

from smoothcert.schemas.certificate import Bound, Look
from smoothcert.schemas.feasibility import RUNNER_UP_SHARE, final_share, first_look, has_one_look
from smoothcert.schemas.parameters import Parameters

RATIO = 1.25  # votes at a look over votes at the one before


@dataclass(frozen=True)
class Plan:
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


def plan_for(parameters: Parameters) -> Plan:
    """The plan of one certification: a function of the parameters alone, never of the votes.

    `certify` and `predict` look once, at n, with all of alpha; so does `anytime` where n is too small to
    divide.
    """
    n, alpha = parameters.n, parameters.alpha
    if has_one_look(parameters.procedure, n, alpha):
        return Plan((Look(n=n, alpha=alpha),), "one_sided")
    return Plan(_spend(_geometric(first_look(alpha), n), alpha, final_share(parameters)), "runner_up")


def _geometric(first: int, n: int) -> list[int]:
    """Votes at the looks: about RATIO apart, from `first` up to n, at least twice as many, exactly."""
    steps = round(math.log(n / first, RATIO))
    return [round(first * (n / first) ** (i / steps)) for i in range(steps)] + [n]


def _spend(votes: list[int], alpha: float, final: float) -> tuple[Look, ...]:
    """Alpha over the looks: `final` of it for the last, the rest evenly; the exact sum is at most alpha."""
    early = (1 - final) * alpha / (len(votes) - 1)
    last = _rounded_down(Fraction(alpha) - Fraction(early) * (len(votes) - 1))
    return (*(_look(n, early) for n in votes[:-1]), _look(votes[-1], last))


def _look(n: int, alpha: float) -> Look:
    return Look(n=n, alpha=alpha, alpha_runner_up=alpha * RUNNER_UP_SHARE)


def _rounded_down(exact: Fraction) -> float:
    value = float(exact)
    return value if Fraction(value) <= exact else math.nextafter(value, 0.0)
