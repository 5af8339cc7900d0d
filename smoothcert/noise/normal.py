"""The normal distribution in 50 decimal digits, and how far the drawn noise is from it.

What is left between the drawn law of the noise (noise/grid.py) and the Gaussian is bounded by `slack` and
taken from the statistics. Standard library only.
"""

import math
from bisect import bisect_left
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from functools import lru_cache

from smoothcert.schemas.limits import check_sigma

BITS = 63  # of the random words that decide the noise

_PRECISE = Context(prec=50)
_NEGLIGIBLE = Decimal("1e-46")  # relative; the series' rest is at most a few times its last term
_DENSITY_AT_ZERO = Decimal(
    "0.398942280401432677939946059934381868475858631164934657665925829671"
)  # 1/sqrt(2 pi)


def above_half(a: Fraction) -> Decimal:
    """Phi(a) - 1/2 for a >= 0, as density(a) * (a + a^3/3 + a^5/(3*5) + ...)."""
    assert a >= 0
    with localcontext(_PRECISE):
        x = Decimal(a.numerator) / Decimal(a.denominator)
        square = x * x
        term = total = x
        odd = 1
        while term > total * _NEGLIGIBLE or odd < 2 * square:
            odd += 2
            term = term * square / odd
            total += term
        return _DENSITY_AT_ZERO * (-square / 2).exp() * total


def cumulative(a: Fraction) -> Decimal:
    """Phi(a), absolute error below 1e-40."""
    with localcontext(_PRECISE):
        return Decimal("0.5") + above_half(a) if a >= 0 else Decimal("0.5") - above_half(-a)


def scaled_cumulative(a: Fraction, bits: int) -> int:
    """2^bits * Phi(a), to the nearest integer (for up to 100 bits)."""
    with localcontext(_PRECISE):
        return int((cumulative(a) * 2**bits).to_integral_value())


@lru_cache(maxsize=256)
def slack(sigma: float, num_pixels: int) -> float:
    """Total variation between the drawn noise of one image and the Gaussian, rounded up.

    Subtract it from lower and add it to upper bounds. num_pixels: C*H*W. 2e-13 for MNIST at sigma 0.5, 8e-11
    for 224x224 colour images at sigma 1. Does not build the table, which takes seconds at the largest sigma.
    """
    check_sigma(sigma)
    level, beyond = Fraction(sigma), math.ceil(10 * 255 * sigma) + 1  # Phi(10) is 1 to 63 bits
    above_half = bisect_left(range(beyond), 2**BITS, key=lambda m: threshold(level, m))
    return math.nextafter(slack_of(2 * above_half) * num_pixels, 1.0)


def slack_of(thresholds: int) -> float:
    """Of one pixel.

    Clipping: thresholds left out lie within half a unit of 0 or 1, so at most one unit (2^-63) of mass moves
    on each side. Rounding: each threshold is off by less than one unit, and moves at most that much.
    """
    return (thresholds + 2) * 2.0**-BITS


def threshold(sigma: Fraction, m: int) -> int:
    """round(2^63 * Phi((m + 1/2) / (255 sigma)))"""
    return scaled_cumulative(Fraction(2 * m + 1, 510) / sigma, BITS)
