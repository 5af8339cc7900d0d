from fractions import Fraction

import mpmath
import pytest

from smoothcert.noise.normal import above_half, cumulative, scaled_cumulative


@pytest.mark.parametrize(
    "a", ["0", "1/510", "1/7", "1", "-1", "31/10", "-31/10", "6", "91/10", "-91/10", "12"]
)
def test_the_cumulative_function_agrees_with_mpmath_to_forty_digits(a: str) -> None:
    exact = Fraction(a)
    with mpmath.workdps(70):
        expected = mpmath.ncdf(mpmath.mpf(exact.numerator) / exact.denominator)
        assert abs(mpmath.mpf(str(cumulative(exact))) - expected) < mpmath.mpf(10) ** -40


def test_only_the_upper_half_is_summed_directly() -> None:
    with pytest.raises(AssertionError):
        above_half(Fraction(-1, 510))
    assert above_half(Fraction(0)) == 0


@pytest.mark.parametrize("bits", [1, 63, 100])
def test_scaled_it_is_the_nearest_integer(bits: int) -> None:
    with mpmath.workdps(70):
        for a in (Fraction(0), Fraction(1, 3), Fraction(-17, 10), Fraction(4)):
            expected = mpmath.ncdf(mpmath.mpf(a.numerator) / a.denominator) * 2**bits
            assert abs(scaled_cumulative(a, bits) - expected) <= mpmath.mpf("0.5") + mpmath.mpf(10) ** -9
