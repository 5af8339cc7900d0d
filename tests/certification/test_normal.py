from fractions import Fraction

import mpmath
import pytest

from certification.normal import cumulative


@pytest.mark.parametrize(
    "a", ["0", "1/510", "1/7", "1", "-1", "31/10", "-31/10", "6", "91/10", "-91/10", "12"]
)
def test_the_cumulative_function_agrees_with_mpmath_to_forty_digits(a: str) -> None:
    exact = Fraction(a)
    with mpmath.workdps(70):
        expected = mpmath.ncdf(mpmath.mpf(exact.numerator) / exact.denominator)
        assert abs(mpmath.mpf(str(cumulative(exact))) - expected) < mpmath.mpf(10) ** -40
