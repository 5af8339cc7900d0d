"""What a radius implies: no covered change is as large as the radius, and no larger claim is true.

Tiny images exhaustively, in whole numbers of 1/255; larger ones by random search.
"""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoothcert.schemas.certificate import Shape
from smoothcert.stats.certificate import implied_by
from tests.support.issuing import certificate_for, wrong_field

TINY: list[Shape] = [(1, 1, 1), (1, 1, 2), (3, 1, 1)]
LARGE: list[Shape] = [(1, 28, 28), (3, 32, 32), (3, 64, 48)]
COARSE = [0, 1, 64, 127, 128, 254, 255]  # values of pixels where all 256 are too many


def changes(shape: Shape) -> np.ndarray:
    """Every change, in levels of 255, from every image to every image of this shape: (N, C, P)."""
    channels, height, width = shape
    values = range(-255, 256) if math.prod(shape) < 3 else sorted({a - b for a in COARSE for b in COARSE})
    every = itertools.product(values, repeat=math.prod(shape))
    return np.array(list(every)).reshape(-1, channels, height * width)


@pytest.mark.parametrize("shape", TINY)
@pytest.mark.parametrize(
    "radius", [1e-5, 0.003, 1 / 255, 0.1, 0.5, 0.999, 1.0, 1.2, math.sqrt(2), 1.5, 1.8, 4.0]
)
def test_no_covered_change_of_a_tiny_image_reaches_the_radius_and_no_claim_can_grow(
    shape: Shape, radius: float
) -> None:
    every, implied = changes(shape), implied_by(radius, shape)
    sizes = (every.astype(object) ** 2).sum(axis=(1, 2))  # squares of the l2 norm times 255
    reaches = sizes >= 255**2 * Fraction(radius) ** 2
    largest, changed = abs(every).max(axis=(1, 2)), (every != 0).any(axis=1).sum(axis=1)
    total = abs(every).sum(axis=(1, 2))
    assert not reaches[largest <= implied.linf_levels].any()
    assert not reaches[changed <= implied.pixels].any()
    assert not reaches[largest < 255 * implied.linf].any()
    assert not reaches[total < 255 * implied.l1].any()
    if math.prod(shape) < 3 and reaches.any():  # with every value there is a counterexample to more
        assert reaches[largest <= implied.linf_levels + 1].any()
    if reaches.any():
        assert reaches[changed <= implied.pixels + 1].any()


@pytest.mark.parametrize("shape", LARGE)
@pytest.mark.parametrize("radius", [0.02, 0.4, 1.0, 1.9, 3.7])
def test_no_covered_change_found_by_random_search_reaches_the_radius(shape: Shape, radius: float) -> None:
    implied, random = implied_by(radius, shape), np.random.default_rng(0)
    channels, values = shape[0], math.prod(shape)
    for _ in range(200):
        signs = random.choice([-1, 1], values) * random.choice([1, 1, 0.9], values)
        assert np.linalg.norm(signs * implied.linf_levels / 255) < radius
        assert np.linalg.norm(signs * implied.linf) <= radius * (1 + 1e-12)
        spread = random.dirichlet(np.full(values, random.choice([0.001, 0.1, 10])))
        assert np.linalg.norm(spread * implied.l1) <= radius * (1 + 1e-12)
        assert np.linalg.norm(random.choice([-1.0, 1.0], implied.pixels * channels)) < radius
    assert np.linalg.norm(np.full(values, (implied.linf_levels + 1) / 255)) >= radius
    assert np.linalg.norm(np.ones((implied.pixels + 1) * channels)) >= radius


@given(st.floats(1e-6, 40), st.sampled_from([*TINY, *LARGE]))
def test_each_claim_is_the_largest_true_one(radius: float, shape: Shape) -> None:
    implied, square = implied_by(radius, shape), Fraction(radius) ** 2
    values, (channels, height, width) = math.prod(shape), shape
    assert implied.l1 == radius
    assert Fraction(implied.linf) ** 2 * values <= square
    assert implied.linf == pytest.approx(radius / math.sqrt(values), rel=1e-14)
    level, pixels = implied.linf_levels, implied.pixels
    assert level == 0 or Fraction(level, 255) ** 2 * values < square
    assert level == 255 or Fraction(level + 1, 255) ** 2 * values >= square
    assert pixels == 0 or channels * pixels < square
    assert pixels == height * width or channels * (pixels + 1) >= square


def test_every_covered_image_gets_the_class_of_a_linear_classifier() -> None:
    """The smoothed classifier is sign(w x + b); its true radius is the distance to the plane."""
    weights, image = np.array([0.6, -0.8]), np.array([200, 40])
    every = np.array(list(itertools.product(range(256), repeat=2)))
    margin = float(weights @ image / 255 - 0.2)
    implied = implied_by(margin * (1 - 1e-12), (1, 1, 2))
    same = every @ weights / 255 - 0.2 > 0
    change = abs(every - image)
    assert same[change.max(axis=1) <= implied.linf_levels].all()
    assert same[change.sum(axis=1) < 255 * implied.l1].all()
    assert not same.all()


def test_nothing_is_implied_by_no_radius() -> None:
    implied = implied_by(0.0, (1, 28, 28))
    assert set(implied.model_dump().values()) == {0}


def test_a_certificate_says_what_its_radius_implies() -> None:
    certificate = certificate_for({})
    assert certificate.implied == implied_by(certificate.radius, certificate.input.shape)
    assert wrong_field(certificate, implied=None) is None  # as those from before


NORMS = [
    ("l1", 1 + 1e-9, 0),
    ("l1", 0.99, 0),
    ("linf", 1 + 1e-9, 0),
    ("linf", 0.99, 0),
    ("linf", math.nan, 0),
]
COUNTS = [("linf_levels", 1, 1), ("linf_levels", 1, -1), ("pixels", 1, 1), ("pixels", 1, -1)]


@pytest.mark.parametrize(("field", "factor", "step"), NORMS + COUNTS)
def test_an_edited_claim_is_refused_by_name(field: str, factor: float, step: int) -> None:
    certificate = certificate_for({"n": 100_000}, [0.0, 1.0, 0.0])
    assert certificate.implied is not None
    edited = getattr(certificate.implied, field) * factor + step
    claims = certificate.implied.model_copy(update={field: edited})
    assert wrong_field(certificate, implied=claims) == f"implied.{field}"
