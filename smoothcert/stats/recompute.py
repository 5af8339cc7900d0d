"""An independent second implementation of the statistics, for verification.

Shares no code with bounds, schedule and procedure: bounds by bisection on the binomial tail instead of the
inverse beta function, quantiles by bisection on erfc, looks by the published rule.
"""

import math
from collections.abc import Callable

from scipy import stats

STEPS = 200  # of bisection: more than a double has bits


def smallest(holds: Callable[[float], bool], low: float, high: float) -> float:
    """The least x in [low, high] from which `holds` is true, to the last bit."""
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def lower_bound(k: int, n: int, alpha: float) -> float:
    """The least p for which P(k or more of n votes) >= alpha (Clopper-Pearson)."""
    return smallest(lambda p: stats.binom.sf(k - 1, n, p) >= alpha, 0.0, 1.0) if k else 0.0


def upper_bound(k: int, n: int, alpha: float) -> float:
    """The least p for which P(k or fewer of n votes) <= alpha (Clopper-Pearson)."""
    return smallest(lambda p: stats.binom.cdf(k, n, p) <= alpha, 0.0, 1.0) if k < n and alpha else 1.0


def normal_quantile(p: float) -> float:
    """Phi^-1(p), computed in the nearer tail."""
    if p > 0.5:
        return -normal_quantile(1 - p)
    return smallest(lambda z: 0.5 * math.erfc(-z / math.sqrt(2)) >= p, -40.0, 0.0)


def radius(sigma: float, p_lower: float, p_upper: float) -> float:
    """sigma/2 * (Phi^-1(p_lower) - Phi^-1(p_upper)) where that is positive, else 0."""
    if p_lower <= p_upper:
        return 0.0
    return sigma / 2 * (normal_quantile(p_lower) - normal_quantile(p_upper))


def two_sided(first: int, second: int) -> float:
    """p-value of the two-sided binomial test of `first` against `second` with p = 1/2."""
    return min(1.0, 2 * float(stats.binom.sf(max(first, second) - 1, first + second, 0.5)))


def looks(n: int, alpha: float, *, stops_early: bool) -> list[tuple[int, float, float]]:
    """The anytime rule, version 1: (votes, alpha spent, of it for the runner-up) at each look.

    The first look is at ten times the least votes that could certify (32 or more), each next one about 1.25
    times further, the last at n. The last has 90 % of alpha, or 50 % where the job may stop early; the others
    share the rest evenly. A tenth of each is the runner-up's. Fewer than two first looks: one, one-sided.
    """
    first = max(32, math.ceil(-10 * math.log2(alpha)))
    if n < 2 * first:
        return [(n, alpha, 0.0)]
    count = round(math.log(n / first) / math.log(1.25))
    votes = [round(first * (n / first) ** (i / count)) for i in range(count)] + [n]
    last = 0.5 if stops_early else 0.9
    spent = [alpha * (1 - last) / count] * count + [alpha * last]
    return [(m, a, a / 10) for m, a in zip(votes, spent, strict=True)]
