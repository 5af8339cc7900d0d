"""The normal distribution's cumulative function, exactly enough to be called exact.

Sums of positive terms in 50-digit decimals: no cancellation, so every digit but the last few is right
(absolute error below 1e-40; checked against mpmath). Floating point is nowhere involved.
"""

from decimal import Context, Decimal, localcontext
from fractions import Fraction

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
