"""`smoothcert.evaluate`: the figures of the field from images given in Python."""

from pathlib import Path

import numpy as np
import pytest

import smoothcert
from smoothcert.images.decode import read_image
from smoothcert.schemas.evaluation_log import read_log
from smoothcert.schemas.evaluation_run import read_run
from training.log_checks import check_log

DATA = Path(__file__).parent / "data"
ENGINE = "cpu:eager/1-threads:float32:128"


@pytest.fixture(scope="module")
def classifier() -> smoothcert.SmoothedClassifier:
    return smoothcert.load("mnist-lenet-consistency-0.50", ENGINE)


@pytest.fixture(scope="module")
def digits_NHW(  # noqa: N802
    classifier: smoothcert.SmoothedClassifier,
) -> np.ndarray:
    return np.stack(
        [read_image((DATA / f"digit-{k}.png").read_bytes(), classifier.card).to_array()[0] for k in range(6)]
    )


def test_an_evaluation_has_the_fields_figures_and_log(
    classifier: smoothcert.SmoothedClassifier, digits_NHW: np.ndarray, tmp_path: Path
) -> None:
    labels = [0, 1, 9, 3, 4, 5]  # the third is wrong
    table = smoothcert.evaluate(classifier, digits_NHW, labels, every=2, n=1000, seed=1)
    assert [row.idx for row in table] == [0, 2, 4]
    assert [row.correct for row in table] == [True, False, True]
    assert table.acr == pytest.approx((table.rows[0].radius + table.rows[2].radius) / 3)
    assert table.certified_accuracy(0) == pytest.approx(2 / 3)
    assert table.certified_accuracy(99) == 0
    table.to_tsv(tmp_path / "log.tsv")
    log = read_log(tmp_path / "log.tsv")
    assert [row.evidence.counts for row in log.rows] == [row.evidence.counts for row in table]
    assert not [warning for warning in check_log(log) if "p_lower" in warning or "radius" in warning]
    assert read_run(tmp_path / "log.tsv") == table.run
    assert smoothcert.evaluate(classifier, digits_NHW, labels, every=2, n=1000, seed=1).acr == table.acr
    html = table._repr_html_()
    assert "ACR" in html
    assert "<svg" in html


def test_a_plot_is_written(
    classifier: smoothcert.SmoothedClassifier, digits_NHW: np.ndarray, tmp_path: Path
) -> None:
    table = smoothcert.evaluate(classifier, digits_NHW[:1], [0], n=100)
    assert table.plot(tmp_path / "plot.svg").axes
    assert (tmp_path / "plot.svg").stat().st_size > 1000
    with pytest.raises(smoothcert.InvalidRequest, match="must end in"):
        table.plot(tmp_path / "plot.xyz")


def test_labels_must_match_the_number_of_classes(
    classifier: smoothcert.SmoothedClassifier, digits_NHW: np.ndarray
) -> None:
    for labels, every, reason in (
        ([0], 1, "6 images and 1 labels"),
        ([10] * 6, 1, "Label 0 is 10"),
        (["1"] * 6, 1, "Label 0 is '1'"),
        ([1.5] * 6, 1, "Label 0 is 1.5"),
        ([float("nan")] * 6, 1, "Label 0 is nan"),
        ([-1] * 6, 1, "Label 0 is -1"),
        ([0] * 6, 0, "every=0"),
    ):
        with pytest.raises(smoothcert.InvalidRequest, match=reason):
            smoothcert.evaluate(classifier, digits_NHW, labels, every=every, n=100)
