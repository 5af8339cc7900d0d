"""Statements about data sets: the figures against SciPy's, what is no evidence, how often one is false."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from smoothcert.schemas.evaluation_log import Evidence, Row, read_log
from smoothcert.schemas.evaluation_run import EvaluationRun, read_run
from smoothcert.schemas.limits import image_seed
from smoothcert.stats.bounds import radius_between
from smoothcert.stats.statement import Question, at_least, figures, problem
from tests.support.coverage import share_of_false_statements, worst_case

LOG = Path(__file__).resolve().parents[2] / "docs/results/mnist-lenet-consistency-0.50.tsv"
QUESTION = Question((0.0, 0.5, 1.5), 0.05, tuple("abcdefghij"))
RUN = EvaluationRun(
    model="m", weights_sha256="0" * 64, dataset="d", split="test", split_images=40, every=2,
    procedure="certify", n0=100, n=1000, alpha=0.001, sigma=0.5, seed=0, setup="cpu:eager:float32:64",
)  # fmt: skip


def row(idx: int, k: int, label: int = 0, predict: int = 0) -> Row:
    p_lower = float(stats.beta.ppf(0.001, k, 1000 - k + 1))
    radius = radius_between(0.5, p_lower - 1e-12, 1 - p_lower + 1e-12)
    counts = [0] * 10
    counts[predict], counts[(predict + 1) % 10] = k, 1000 - k
    evidence = Evidence(
        100,
        1000,
        0.001,
        0.5,
        "one_sided",
        p_lower - 1e-12,
        1 - p_lower + 1e-12,
        tuple(counts),
        image_seed(0, idx),
    )
    return Row(idx, label, predict, radius, label == predict, 0.1, evidence)


def rows() -> list[Row]:
    return [row(idx, 700 + idx, label=idx % 10) if idx % 10 else row(idx, 990) for idx in range(0, 40, 2)]


@pytest.mark.parametrize(
    ("right", "of", "beta"), [(482, 500, 0.05), (500, 500, 0.01), (3, 50, 0.005), (1, 1, 0.5)]
)
def test_the_share_is_clopper_pearsons_less_alpha(right: int, of: int, beta: float) -> None:
    expected = float(stats.beta.ppf(beta, right, of - right + 1)) - 0.001
    assert at_least(right, of, beta, 0.001) == pytest.approx(max(0, expected), abs=1e-12)
    assert at_least(right, of, beta, 0.001) <= expected + 1e-14


def test_nothing_is_stated_of_no_image_and_less_than_nothing_of_none() -> None:
    assert at_least(0, 0, 0.05, 0.001) == at_least(0, 10, 0.05, 0.001) == at_least(1, 500, 0.05, 0.5) == 0


def test_a_statement_counts_as_a_plain_loop_does() -> None:
    log, run = read_log(LOG), read_run(LOG)
    assert run is not None
    made = figures(log.rows, run.alpha, QUESTION)
    for share in made["radii"]:
        right = sum(
            r.predict == r.label and (r.radius > share["radius"] or share["radius"] == 0) for r in log.rows
        )
        assert (share["right"], share["of"]) == (right, 500)
        assert share["at_least"] == at_least(right, 500, 0.05, run.alpha)
    for k, one in enumerate(made["classes"]):
        own = [r for r in log.rows if r.label == k]
        for share in one["radii"]:
            right = sum(r.predict == k and (r.radius > share["radius"] or share["radius"] == 0) for r in own)
            assert (share["right"], share["of"]) == (right, len(own))
            assert share["at_least"] == at_least(right, len(own), 0.005, run.alpha)
    radii = [r.radius * (r.predict == r.label) for r in log.rows]
    assert made["mean_radius"] == pytest.approx(np.mean(radii))
    assert made["median_radius"] == pytest.approx(np.median(radii))
    shares = np.sort([r.evidence.counts[r.label] / r.evidence.n for r in log.rows if r.evidence])
    assert made["p_a"]["0.5"] == shares[250]


def test_whole_logs_of_the_results_are_evidence() -> None:
    for path in [LOG, LOG.with_name("cifar10-resnet20-consistency-0.50.tsv")]:
        assert problem(read_log(path).rows, read_run(path), 0.0) is None
    assert problem(rows(), RUN, 0.0) is None
    unfinished = LOG.with_name("cifar10-resnet110-consistency-0.50.tsv")  # 162 of 500 images
    assert "338 of the 500 are missing" in str(problem(read_log(unfinished).rows, read_run(unfinished), 0.0))


def changed(position: int, **changes: Any) -> list[Row]:
    """The rows with one changed: fields of the row or of its evidence."""
    every = rows()
    old = every[position]
    assert old.evidence is not None
    inner = {name: value for name, value in changes.items() if name in Evidence.__dataclass_fields__}
    outer = {name: value for name, value in changes.items() if name not in inner}
    every[position] = replace(old, evidence=replace(old.evidence, **inner), **outer)
    return every


@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        ([], "no images"),
        (rows()[:-1], "a chosen subset"),
        (rows()[1:], "a chosen subset"),
        ([r for r in rows() if r.correct], "a chosen subset"),
        ([*rows(), row(41, 990)], "a chosen subset"),
        ([*rows(), rows()[3]], "duplicates: image 6"),
        (changed(2, alpha=0.01), "mixed alpha: 0.001, 0.01"),
        (changed(2, sigma=0.25), "mixed sigma: 0.25, 0.5"),
        (changed(5, radius=1.9), "unproved: image 10"),
        (changed(5, counts=(1000, 10, *[0] * 8)), "unproved: image 10: its counts are not"),
        (changed(5, counts=(900, 100, *[0] * 8)), "unproved: image 10: its bounds"),
        (changed(5, counts=(-1, 100, *[0] * 8)), "unproved: image 10: its counts are not"),
        (changed(5, n=900, counts=(890, 10, *[0] * 8)), "unproved: image 10: no look"),
        (changed(5, predict=-1), "unproved: image 10: an abstention claims"),
        (changed(5, predict=-1, radius=0.0, counts=(999, 10, *[0] * 8)), "image 10: its counts are not"),
        (changed(5, seed=image_seed(0, 12)), "unproved: image 10: its seed is not the one"),
        (changed(5, n0=1), "mixed n0: 1, 100"),
        ([replace(r, evidence=None) for r in rows()], "rows without counts"),
    ],
)
def test_what_is_no_evidence_is_refused_with_the_reason(evidence: list[Row], reason: str) -> None:
    found = problem(evidence, RUN, 0.0)
    assert found is not None
    assert reason in found


def test_an_image_that_was_skipped_as_wrong_counts_as_wrong() -> None:
    skipped = changed(5, n=0, counts=(0,) * 10, radius=0.0, predict=1, label=0, p_lower=0.0, p_upper=1.0)
    assert problem(skipped, RUN, 0.0) is None
    whole, less = (figures(each, 0.001, QUESTION)["radii"][0]["right"] for each in (rows(), skipped))
    assert less <= whole
    assert "unproved" in str(problem(changed(5, n=0, counts=(0,) * 10, label=0), RUN, 0.0))


def test_a_run_that_proves_no_radius_or_asked_something_else_is_refused() -> None:
    assert problem(rows(), RUN.model_copy(update={"procedure": "predict"}), 0.0) is not None
    assert "mixed alpha" in str(problem(rows(), RUN.model_copy(update={"alpha": 0.01}), 0.0))
    assert "chosen subset" in str(problem(rows(), RUN.model_copy(update={"every": 1}), 0.0))
    assert "no choice" in str(problem(rows(), RUN.model_copy(update={"every": 0}), 0.0))
    assert "9980 of the" in str(problem(rows(), RUN.model_copy(update={"split_images": 10**30}), 0))
    assert "unproved" in str(problem(rows(), RUN, 1e-3))


@pytest.mark.parametrize("images", [30, 500])
@pytest.mark.parametrize("alpha", [0.001, 0.1])
def test_a_statement_is_false_no_more_often_than_beta(images: int, alpha: float) -> None:
    """4000 simulated evaluations; more than 250 false ones at a rate of 5 % have a probability of 1e-4."""
    assert share_of_false_statements(images, alpha, beta=0.05, runs=4000, seed=1) <= 250 / 4000
    assert worst_case(images, alpha, beta=0.05, runs=4000, seed=1) <= 250 / 4000


def test_the_simulation_notices_a_bound_that_forgets_alpha() -> None:
    assert worst_case(500, 0.1, beta=0.05, runs=1000, seed=1, forgotten=0.1) > 0.2
