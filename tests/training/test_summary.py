import pytest

from smoothcert.errors import InvalidRequest
from smoothcert.schemas.evaluation_log import Log, Row, certified_accuracy
from tests.training.rows import evidence, rows
from training.summary import Summary, mean_over_seeds, student_interval, summarize, wilson_interval

RADII = ("0", "0.5")


def of_seed(radius: float, images: int = 10_000) -> Summary:
    rows = (Row(i, i % 10, i % 10, radius, True, 0.1) for i in range(images))
    return summarize(Log(f"seed {radius}", tuple(rows)), RADII)


def test_the_mean_over_seeds_has_intervals_over_seeds() -> None:
    mean = mean_over_seeds([of_seed(0.4), of_seed(0.5), of_seed(0.6)])
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


def test_one_seed_alone_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="at least two seeds"):
        mean_over_seeds([of_seed(0.4)])


def test_logs_of_other_images_are_no_seeds_of_one_evaluation() -> None:
    first, second = (
        Log(str(n), tuple(Row(i, i % 10, i % 10, 1.0, True, 0.1) for i in range(n))) for n in (40, 50)
    )
    mean = mean_over_seeds([summarize(first, RADII, [second]), summarize(second, RADII, [first])])
    assert mean.warnings == ("not the same images, so these are not seeds of one evaluation",)


def test_certified_accuracy_counts_radii_larger_than_r_but_every_certificate_at_0() -> None:
    some = (*rows(1, radius=0.25), *rows(1, radius=0.0), *rows(1, radius=0.0, predict=-1, correct=False))
    assert certified_accuracy(some, 0.25) == 0
    assert certified_accuracy(some, 0.2499) == pytest.approx(1 / 3)
    assert certified_accuracy(some, 0) == pytest.approx(2 / 3)


def test_p_correct_is_the_share_of_noisy_copies_classified_as_the_label_says() -> None:
    some = [Row(i, 1, 1, 0.1, True, 0.1, evidence(counts=(1000 - 10 * i, 10 * i))) for i in range(100)]
    quantiles = summarize(Log("a", tuple(some)), ("0",)).p_correct
    assert quantiles is not None
    assert quantiles["0.5"] == 0.5
    assert quantiles["0.05"] == 0.05
    assert summarize(Log("a", rows(5)), ("0",)).p_correct is None


def test_intervals_over_images_are_wilsons_and_normal() -> None:
    # 19 of 20 by Wilson 1927, as tabulated: 0.7639 to 0.9911
    assert wilson_interval(0.95, 20) == pytest.approx((0.7639, 0.9911), abs=1e-4)
    low, high = summarize(Log("a", rows(50, radius=1.0) + rows(50, correct=False)), ("0",)).acr_interval
    assert (low, high) == pytest.approx((0.5 - 0.0985, 0.5 + 0.0985), abs=1e-3)


@pytest.mark.parametrize(
    ("right", "images", "interval"),
    [  # of the closed formulas that statsmodels replaced
        (0, 20, (0.0, 0.16112515805281938)),
        (1, 5, (0.036224108632430085, 0.6244653702374747)),
        (19, 20, (0.763868806553258, 0.9911185511992047)),
        (20, 20, (0.8388748419471806, 1.0)),
        (462, 500, (0.8974035863260316, 0.9441309729625723)),
    ],
)
def test_wilsons_interval_has_the_values_of_its_formula(
    right: int, images: int, interval: tuple[float, float]
) -> None:
    assert wilson_interval(right / images, images) == pytest.approx(interval, abs=1e-12)


def test_an_interval_without_images_is_zero_to_one() -> None:
    assert wilson_interval(0.0, 0) == (0.0, 1.0)
    assert summarize(Log("a", rows(1)), ("0",)).acr_interval == (0.5, 0.5)
