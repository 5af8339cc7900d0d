import pytest

from smoothcert.errors import InvalidRequest
from training.log import Log, Row
from training.seeds import over_seeds, student_interval
from training.summary import Summary, summarize

RADII = ("0", "0.5")


def of_seed(radius: float, images: int = 10_000) -> Summary:
    rows = (Row(i, i % 10, i % 10, radius, True, 0.1) for i in range(images))
    return summarize(Log(f"seed {radius}", tuple(rows)), RADII)


def test_the_mean_over_seeds_has_intervals_over_seeds() -> None:
    mean = over_seeds([of_seed(0.4), of_seed(0.5), of_seed(0.6)])
    assert mean.log == "mean of 3 seeds"
    assert mean.acr == pytest.approx(0.5)
    assert mean.certified_accuracy == pytest.approx((1, 1 / 3))
    assert mean.acr_interval == pytest.approx((0.5 - 0.24841, 0.5 + 0.24841), abs=1e-5)
    assert mean.warnings == ()


def test_students_interval_is_the_tabulated_one() -> None:
    # t at 97.5 % with 2 degrees of freedom is 4.3027, with 4 it is 2.7764
    assert student_interval([1, 2, 3]) == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-4)
    half = 2.7764 * 2.5**0.5 / 5**0.5
    assert student_interval([1, 2, 3, 4, 5]) == pytest.approx((3 - half, 3 + half), abs=1e-4)


def test_one_seed_has_no_spread() -> None:
    with pytest.raises(InvalidRequest, match="at least two seeds"):
        over_seeds([of_seed(0.4)])


def test_logs_of_other_images_are_no_seeds_of_one_evaluation() -> None:
    first, second = (
        Log(str(n), tuple(Row(i, i % 10, i % 10, 1.0, True, 0.1) for i in range(n))) for n in (40, 50)
    )
    mean = over_seeds([summarize(first, RADII, [second]), summarize(second, RADII, [first])])
    assert mean.warnings == ("not the same images, so these are not seeds of one evaluation",)
