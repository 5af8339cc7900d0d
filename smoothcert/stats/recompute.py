"""An independent second implementation of the statistics, for verification. Standard library only.

Shares no code with bounds, schedule and procedure. Every result is rounded to the safe side by proof: a
binomial tail is computed from above, with Stirling's series in 50 decimal digits and a sum of whole numbers
that are rounded up; a bound is returned only after the tail there was found to be at most alpha. The normal
quantile uses `noise.normal`, which is exact to 40 digits.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING

from smoothcert.noise.normal import cumulative

if TYPE_CHECKING:  # so that it runs without pydantic
    from smoothcert.schemas.certificate import Implied

# How far a bound (absolute) or a radius (relative to it or to sigma) may lie on the unsafe side: what
# rounding to a float may add.
EXCESS = 1e-12
_PRECISE = Context(prec=50)
_HALF_LOG_TWO_PI = Decimal("0.91893853320467274178032973640561763986139747363778341281715")
# Of the logarithm of a tail. Its terms are below 1e10 and exact to 50 digits; Stirling's series, cut after
# ten terms, is off by less than 2e-41 from n = 100 on. So 1e-35 is safe.
_LOG_ERROR = Decimal("1e-35")
_BERNOULLI = "1/6 -1/30 1/42 -1/30 5/66 -691/2730 7/6 -3617/510 43867/798 -174611/330"
_DIGITS = 45  # of a probability
_UNIT = 2**100  # of the sum of a tail's terms, relative to its first one
_NEGLIGIBLE = 2**40  # units: terms below are replaced by a bound on their sum
_MARGIN = Decimal("1e-16")  # relative to min(p, 1-p): how far below its root a bound is tried first
_STEPS = 50  # of Newton's method; ten are usual
_FURTHEST = 12.0  # quantiles are cut off here: 1 - Phi(12) is below 1e-32


def lower_bound(k: int, n: int, alpha: float) -> Decimal:
    """A p for which P(k or more of n votes) <= alpha, the largest to 1e-15: Clopper-Pearson, rounded down.

    Newton's method on the logarithm of the tail as a function of log p, which is concave, so that the steps
    come from below.
    """
    if k == 0 or alpha <= 0:
        return Decimal(0)
    if alpha >= 1:
        return Decimal(1)
    with localcontext(_PRECISE):
        tail, goal, p = _Tail(k, n), Decimal(alpha).ln(), _start(k, n, alpha)
        for _ in range(_STEPS):
            log_tail, total = tail.at(p)
            step = (goal - log_tail) * total / k
            p = _floor(min(p * step.exp(), (1 + p) / 2))
            if abs(step) < _MARGIN * (1 - p):
                break
        margin = _MARGIN * min(p, 1 - p)
        while p > 0 and tail.at(p)[0] > goal:
            p, margin = _floor(p - margin), 2 * margin
        return max(p, Decimal(0))


def upper_bound(k: int, n: int, alpha: float) -> Decimal:
    """A p for which P(k or fewer of n votes) <= alpha, the least to 1e-15: Clopper-Pearson, rounded up."""
    with localcontext(_PRECISE):
        return 1 - lower_bound(n - k, n, alpha)


class _Tail:
    """P(k or more of n votes) as a function of p, from above. 1 <= k <= n."""

    def __init__(self, k: int, n: int) -> None:
        self._k, self._n = k, n
        self._log_ways = _log_factorial(n) - _log_factorial(k) - _log_factorial(n - k)

    def at(self, p: Decimal) -> tuple[Decimal, Decimal]:
        """The logarithm of the tail, rounded up, and the tail over its first term. 0 < p < 1."""
        total = self._sum(p)
        log_first = self._log_ways + self._k * p.ln() + (self._n - self._k) * (1 - p).ln()
        return log_first + total.ln() + _LOG_ERROR, total

    def _sum(self, p: Decimal) -> Decimal:
        """The sum of the terms from k on, relative to the first one, rounded up."""
        odds = Fraction(p) / (1 - Fraction(p))
        a, b = odds.numerator, odds.denominator
        term = total = _UNIT
        for i in range(self._k, self._n):
            numerator, denominator = (self._n - i) * a, (i + 1) * b
            if term < _NEGLIGIBLE and numerator < denominator:  # the rest is less than a geometric series
                total += term * numerator // (denominator - numerator) + 1
                break
            term = term * numerator // denominator + 1
            total += term
        return Decimal(total) / _UNIT


@lru_cache(maxsize=64)
def _log_factorial(n: int) -> Decimal:
    with localcontext(_PRECISE):
        if n < 100:
            return Decimal(math.factorial(n)).ln()
        x, series = Decimal(n), Decimal(0)
        for j, value in enumerate(map(Fraction, _BERNOULLI.split()), 1):
            power = 2 * j - 1
            series += Decimal(value.numerator) / value.denominator / (2 * j * power * x**power)
        return (x + Decimal("0.5")) * x.ln() - x + _HALF_LOG_TWO_PI + series


def _start(k: int, n: int, alpha: float) -> Decimal:
    """Near the bound: Wilson's interval, or the closed form where all votes agree."""
    if k == n:
        return _floor((Decimal(alpha).ln() / n).exp())
    z, share = -NormalDist().inv_cdf(max(alpha, 1e-300)), k / n
    middle = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    near = (middle - spread) / (1 + z * z / n)
    return _floor(Decimal(min(max(near, 1e-12), 1 - 1e-12)))


def _floor(p: Decimal) -> Decimal:
    """p rounded down, but not to 0."""
    least = Decimal(1).scaleb(-_DIGITS)
    return max(p.quantize(least, ROUND_FLOOR), least)


def normal_quantile(p: Decimal) -> Decimal:
    """Phi^-1(p) to 1e-18, by Newton's method; at most 12 on either side."""
    with localcontext(_PRECISE):
        z = Decimal(_near_quantile(float(p), float(1 - p)))
        for _ in range(6):
            density = (-z * z / 2).exp() / Decimal("2.506628274631000502415765284811")
            z = min(max(z + (p - cumulative(Fraction(z))) / density, -Decimal(_FURTHEST)), Decimal(_FURTHEST))
            z = z.quantize(Decimal("1e-30"))
        return z


def _near_quantile(p: float, q: float) -> float:
    """A start for Newton's method, from the smaller of p and q = 1-p."""
    if p <= 0.5:
        return max(NormalDist().inv_cdf(max(p, 1e-32)), -_FURTHEST)
    return min(-NormalDist().inv_cdf(max(q, 1e-32)), _FURTHEST)


def radius(sigma: float, p_lower: Decimal, p_upper: Decimal) -> float:
    """sigma/2 * (Phi^-1(p_lower) - Phi^-1(p_upper)) where that is positive, else 0; rounded down."""
    if p_lower <= p_upper:
        return 0.0
    with localcontext(_PRECISE):
        gap = normal_quantile(p_lower) - normal_quantile(p_upper) - Decimal("1e-16")
        return max(0.0, rounded(Decimal(sigma) / 2 * gap, ROUND_FLOOR))


def rounded(value: Decimal, rounding: str) -> float:
    """The float next to `value`, towards ROUND_FLOOR or ROUND_CEILING."""
    near = float(value)
    if rounding == ROUND_FLOOR and Decimal(near) > value:
        return math.nextafter(near, -math.inf)
    if rounding == ROUND_CEILING and Decimal(near) < value:
        return math.nextafter(near, math.inf)
    return near


def two_sided(first: int, second: int) -> float:
    """p-value of the two-sided binomial test of `first` against `second` with p = 1/2, rounded up."""
    if first == second:
        return 1.0
    with localcontext(_PRECISE):
        log_tail, _ = _Tail(max(first, second), first + second).at(Decimal("0.5"))
        return min(1.0, rounded(2 * log_tail.exp(), ROUND_CEILING))


def could_certify(
    procedure: str, n: int, alpha: float, *, sigma: float, target: float | None, stops_early: bool
) -> bool:
    """Whether n votes for one class would certify, and reach the target radius."""
    if procedure == "predict":
        return 2 * 0.5**n <= alpha
    most = largest_radius(procedure, n, alpha, sigma=sigma, stops_early=stops_early)
    return most > 0 and (target is None or most * (1 + 1e-9) >= target)


def largest_radius(procedure: str, n: int, alpha: float, *, sigma: float, stops_early: bool) -> float:
    """What n votes for one class prove: no votes prove more."""
    last = looks(n, alpha, stops_early=stops_early)[-1] if procedure == "anytime" else (n, alpha, 0.0)
    p_lower = lower_bound(n, n, last[1] - last[2])
    return radius(sigma, p_lower, 1 - p_lower)


def wrongly_implied(claimed: Implied, radius: float, shape_CHW: tuple[int, int, int]) -> list[str]:
    """The claims that do not lie within the radius, or that a larger one would replace."""
    square, (channels, height, width) = Fraction(radius) ** 2, shape_CHW
    values = channels * height * width
    level, pixel = Fraction(values, 255**2), Fraction(channels)  # their squared norms
    shift, count = claimed.linf_levels, claimed.pixels
    holds = {
        "l1": _is_nearly(claimed.l1, 1, square),
        "linf": _is_nearly(claimed.linf, values, square),
        "linf_levels": _is_greatest(shift, 255, shift**2 * level, (shift + 1) ** 2 * level, square),
        "pixels": _is_greatest(count, height * width, count * pixel, (count + 1) * pixel, square),
    }
    return [name for name, right in holds.items() if not right]


def _is_nearly(norm: float, factor: int, square: Fraction) -> bool:
    """Whether factor * norm**2 is at most `square`, and nearly that."""
    if not math.isfinite(norm):
        return False
    return square * (1 - Fraction(2 * EXCESS)) <= factor * Fraction(norm) ** 2 <= square


def _is_greatest(count: int, limit: int, covered: Fraction, more: Fraction, square: Fraction) -> bool:
    """Whether `count` is the greatest from 0 to `limit` that the radius covers."""
    return 0 <= count <= limit and (count == 0 or covered < square) and (count == limit or more >= square)


def any_wrong(alpha: float, answers: int) -> Decimal:
    """At most this probability that any of so many answers is wrong (union bound); six digits, rounded up."""
    with localcontext(Context(prec=6, rounding=ROUND_CEILING)):
        return min(Decimal(1), Decimal(str(alpha)) * answers)


def asked_in_words(asked_before: int | None, alpha: float) -> list[str]:
    """What a service's count of earlier requests means for the error probability; nothing if none counted."""
    if asked_before is None:
        return []
    asked = "the service was {} before about these pixels with this model and sigma"
    if asked_before == 0:
        return [asked.format("not asked")]
    times = "once" if asked_before == 1 else f"{asked_before} times"
    risk = any_wrong(alpha, asked_before + 1)
    return [
        f"{asked.format(f'asked {times}')}: with probability at most {risk}",
        f"any of these {asked_before + 1} answers, each at alpha {alpha} or less, is wrong",
    ]


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
