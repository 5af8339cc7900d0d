"""Evaluation with a classifier of known vote probabilities in place of a network."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from smoothcert.errors import ImpossibleRequest, InvalidRequest
from smoothcert.models.registry import CARD_FILE, read_card
from smoothcert.schemas.card import Int8, ModelCard
from smoothcert.schemas.evaluation_log import (
    Row,
    abstention_rate,
    average_certified_radius,
    format_row,
    parse_log,
    read_log,
)
from smoothcert.schemas.evaluation_run import EvaluationRun, read_run, run_path
from smoothcert.schemas.limits import image_seed
from smoothcert.votes import Counts, VoteRange
from tests.support.cards import card_with
from training.datasets.image_set import ImageSet
from training.evaluation import (
    ROWS,
    LogWriter,
    accuracy_on_grid,
    card_figures,
    evaluate,
    selected_indices,
    write_card_figures,
)
from training.report import to_markdown
from training.summary import summarize

CLASSES = 3
IMAGES = 12
RUN = EvaluationRun(
    model="stand-in",
    weights_sha256="0" * 64,
    dataset="stand-in",
    split="test",
    split_images=IMAGES,
    every=2,
    procedure="certify",
    n0=10,
    n=1000,
    alpha=0.001,
    sigma=0.5,
    seed=7,
    setup="stand-in",
)


class KnownVotes:
    """Votes for the class in the image's first pixel with probability `share`, else for the next class."""

    num_classes = CLASSES
    slack = 0.0

    def __init__(self, image_CHW: NDArray[np.uint8], seed: int, share: float) -> None:
        self._leader = int(image_CHW[0, 0, 0])
        self._seed = seed
        self._share = share

    def count(self, votes: VoteRange) -> Counts:
        stage = 0 if votes.stage == "selection" else 1
        drawn = np.random.default_rng([self._seed, stage]).random(votes.stop)[votes.start :]
        counts_K = np.zeros(CLASSES, dtype=np.int64)
        counts_K[self._leader] = (drawn < self._share).sum()
        counts_K[(self._leader + 1) % CLASSES] = (drawn >= self._share).sum()
        return counts_K


class StandIn:
    """An engine of known votes that counts its images."""

    def __init__(self, share: float = 0.9) -> None:
        self.asked = 0
        self._share = share

    def sampler(self, image_CHW: NDArray[np.uint8], sigma: float, seed: int) -> KnownVotes:
        self.asked += 1
        return KnownVotes(image_CHW, seed, self._share)


@pytest.fixture
def images() -> ImageSet:
    """Image i shows class i % 3 and is labelled so, except image 4, which is labelled wrong."""
    pixels = (
        torch.arange(IMAGES, dtype=torch.uint8).remainder(CLASSES)[:, None, None, None].expand(-1, 1, 2, 2)
    )
    labels = torch.arange(IMAGES) % CLASSES
    labels[4] = 0
    return ImageSet("stand-in", "test", pixels.contiguous(), labels, ("a", "b", "c"), "none", (1, 2, 2))


def certify(
    images: ImageSet, indices: range, engine: StandIn | None = None, run: EvaluationRun = RUN
) -> list[Row]:
    steps = evaluate(engine or StandIn(), images, run, indices)
    return [step.row for step in steps if step.row]


def test_every_takes_each_kth_image_and_limit_counts_images_not_indices() -> None:
    assert list(selected_indices(100, 20, None)) == [0, 20, 40, 60, 80]
    assert list(selected_indices(100, 20, 3)) == [0, 20, 40]
    assert list(selected_indices(100, 1, 0)) == []


def test_rows_hold_the_answer_and_the_evidence(images: ImageSet) -> None:
    rows = certify(images, range(0, IMAGES, 2))
    assert [row.idx for row in rows] == [0, 2, 4, 6, 8, 10]
    assert [row.predict for row in rows] == [0, 2, 1, 0, 2, 1]
    assert [row.correct for row in rows] == [True, True, False, True, True, True]
    for row in rows:
        assert row.evidence is not None
        assert sum(row.evidence.counts) == row.evidence.n == 1000
        assert row.evidence.seed == image_seed(7, row.idx)
        # Clopper-Pearson at alpha = .001 is below the share of votes, and far above 1/2
        assert 0.8 < row.evidence.p_lower < row.evidence.counts[row.predict] / 1000
        assert 0.4 < row.radius < 0.65


def test_skipping_wrong_images_saves_their_votes_and_changes_no_figure(images: ImageSet) -> None:
    """Image 4 is labelled wrong; with half of the votes right, others are chosen wrong or abstain, too."""
    for share in (0.9, 0.6, 0.5):
        full = certify(images, range(IMAGES), StandIn(share))
        fast = certify(images, range(IMAGES), StandIn(share), RUN.model_copy(update={"skip_wrong": True}))
        skipped = [row for row in fast if row.skipped]
        assert 4 in {row.idx for row in skipped}
        for slow, quick in zip(full, fast, strict=True):
            if quick.skipped:
                assert (quick.radius, quick.correct, sum(quick.evidence.counts)) == (0.0, False, 0)  # type: ignore[union-attr]
                assert not slow.right
                assert slow.predict in (quick.predict, -1)
            else:
                assert replace(quick, seconds=0) == replace(slow, seconds=0)
        assert average_certified_radius(fast) == average_certified_radius(full)
        assert accuracy_on_grid(fast) == accuracy_on_grid(full)
        assert abstention_rate(fast) is None
        assert abstention_rate(full) == sum(row.abstained for row in full) / IMAGES
        figures = card_figures(fast, RUN)
        assert (figures.acr, figures.abstention_rate) == (card_figures(full, RUN).acr, None)
        assert figures.protocol == card_figures(full, RUN).protocol


def test_a_skipped_row_is_read_as_it_was_written_and_said_in_the_report(images: ImageSet) -> None:
    rows = certify(images, range(IMAGES), run=RUN.model_copy(update={"skip_wrong": True}))
    log = parse_log("".join(map(format_row, rows)), "log")
    assert [row.idx for row in log.rows if row.skipped] == [4]
    assert log.rows[4].predict == 1
    summary = summarize(log, ("0", "0.5"))
    assert (summary.abstention_rate, summary.p_correct) == (None, None)
    assert any(
        "1 images with a wrong chosen class got no estimation votes" in text for text in summary.warnings
    )
    assert not any(text.startswith(("mixed", "contradiction")) for text in summary.warnings)
    assert "unknown" in to_markdown([summary])


def test_an_undecided_image_is_an_abstention(images: ImageSet) -> None:
    for row in certify(images, range(3), StandIn(share=0.5)):
        assert (row.predict, row.radius, row.correct) == (-1, 0.0, False)


def test_the_same_seed_gives_the_same_rows_and_another_seed_other_votes(images: ImageSet) -> None:
    def evidence(run: EvaluationRun) -> list[object]:
        return [row.evidence for row in certify(images, range(4), run=run)]

    assert evidence(RUN) == evidence(RUN)
    assert evidence(RUN) != evidence(RUN.model_copy(update={"seed": 8}))


def test_an_impossible_request_is_refused_before_the_first_vote(images: ImageSet) -> None:
    engine = StandIn()
    with pytest.raises(ImpossibleRequest, match="least n is 10"):
        certify(images, range(3), engine, RUN.model_copy(update={"n": 9}))


def evaluate_into(path: Path, images: ImageSet, limit: int | None, *, resume: bool) -> int:
    """Evaluate into a log as the command does; returns how many images were certified."""
    engine = StandIn()
    indices = selected_indices(IMAGES, RUN.every, limit)
    with LogWriter(path, RUN, ROWS, resume=resume) as journal:
        done = {row.idx for row in journal.rows}
        for step in evaluate(engine, images, RUN, [idx for idx in indices if idx not in done]):
            if step.row:
                journal.append(step.row)
    return engine.asked


def without_times(path: Path) -> list[Row]:
    return [Row(**{**vars(row), "seconds": 0.0}) for row in read_log(path).rows]


@pytest.mark.parametrize("cut", [0, 1, 30, 90])
def test_a_killed_log_continues_without_repeating_an_image(
    tmp_path: Path, images: ImageSet, cut: int
) -> None:
    whole, killed = tmp_path / "whole.tsv", tmp_path / "killed.tsv"
    evaluate_into(whole, images, None, resume=False)
    evaluate_into(killed, images, 4, resume=False)
    content = killed.read_bytes()
    killed.write_bytes(content[: len(content) - cut])
    again = 0 if cut == 0 else 1
    assert evaluate_into(killed, images, None, resume=True) == 2 + again
    assert without_times(killed) == without_times(whole)


def test_a_log_killed_within_its_header_starts_over(tmp_path: Path, images: ImageSet) -> None:
    path = tmp_path / "a.tsv"
    evaluate_into(path, images, 1, resume=False)
    path.write_bytes(path.read_bytes()[:10])
    assert evaluate_into(path, images, None, resume=True) == 6
    assert len(read_log(path).rows) == 6


def test_a_log_is_never_overwritten_and_only_the_same_run_continues_it(
    tmp_path: Path, images: ImageSet
) -> None:
    path = tmp_path / "a.tsv"
    evaluate_into(path, images, 1, resume=False)
    with pytest.raises(InvalidRequest, match="--resume continues it"):
        LogWriter(path, RUN, ROWS, resume=False)
    with pytest.raises(InvalidRequest, match=r"was made with alpha 0.001, not 0.01"):
        LogWriter(path, RUN.model_copy(update={"alpha": 0.01}), ROWS, resume=True)
    run_path(path).unlink()
    with pytest.raises(InvalidRequest, match="what it asked is unknown"):
        LogWriter(path, RUN, ROWS, resume=True)


def test_two_evaluations_cannot_write_one_log(tmp_path: Path) -> None:
    with (
        LogWriter(tmp_path / "a.tsv", RUN, ROWS, resume=False),
        pytest.raises(InvalidRequest, match="being written by another evaluation"),
    ):
        LogWriter(tmp_path / "a.tsv", RUN, ROWS, resume=True)


def test_every_row_is_on_disk_when_append_returns(tmp_path: Path, images: ImageSet) -> None:
    path = tmp_path / "a.tsv"
    (row,) = certify(images, range(1))
    with LogWriter(path, RUN, ROWS, resume=False) as journal:
        journal.append(row)
        assert path.read_text().endswith(format_row(row))
    assert read_run(path) == RUN


@pytest.fixture
def card() -> ModelCard:
    return card_with(name="a", dataset="stand-in", input_shape=(1, 2, 2), labels=["a", "b", "c"])


def test_figures_go_into_the_card_of_a_model_of_that_data_set_only(
    tmp_path: Path, images: ImageSet, card: ModelCard
) -> None:
    (tmp_path / CARD_FILE).write_text(card.model_dump_json())
    rows = certify(images, range(0, IMAGES, 2))
    write_card_figures(tmp_path, rows, RUN)
    assert read_card(tmp_path).evaluation == card_figures(rows, RUN)
    with pytest.raises(InvalidRequest, match="was trained on stand-in, not mnist"):
        write_card_figures(tmp_path, rows, RUN.model_copy(update={"dataset": "mnist"}))


def test_int8_figures_go_into_the_int8_part_of_the_card_for_the_same_rounding_only(
    tmp_path: Path, images: ImageSet, card: ModelCard
) -> None:
    (tmp_path / CARD_FILE).write_text(
        card.model_copy(update={"int8": Int8(sha256="b" * 64)}).model_dump_json()
    )
    rows = certify(images, range(0, IMAGES, 2))
    rounded = RUN.model_copy(update={"int8_sha256": "b" * 64})
    write_card_figures(tmp_path, rows[1:], RUN)
    told = write_card_figures(tmp_path, rows, rounded)
    assert told.evaluation == card_figures(rows[1:], RUN)
    assert told.int8 == Int8(sha256="b" * 64, evaluation=card_figures(rows, rounded))
    with pytest.raises(InvalidRequest, match="another int8 rounding now"):
        write_card_figures(tmp_path, rows, RUN.model_copy(update={"int8_sha256": "c" * 64}))


def test_a_card_gets_the_curve_up_to_where_it_ends(images: ImageSet) -> None:
    rows = certify(images, range(0, IMAGES, 2))
    evaluation = card_figures(rows, RUN)
    assert evaluation.images == 6
    assert (
        evaluation.certified_accuracy["0.00"] == evaluation.certified_accuracy["0.40"] == pytest.approx(5 / 6)
    )
    assert list(evaluation.certified_accuracy.values())[-1] == 0
    assert evaluation.protocol.bound == "one_sided"
    assert accuracy_on_grid([]) == {"0.00": 0.0}


def test_a_device_receives_rows_only_and_cannot_be_resumed(images: ImageSet) -> None:
    null = Path("/dev/null")
    with LogWriter(null, RUN, ROWS, resume=False) as journal, LogWriter(null, RUN, ROWS, resume=False):
        for step in evaluate(StandIn(), images, RUN, [0]):
            if step.row:
                journal.append(step.row)
    assert not run_path(null).exists()
    with pytest.raises(InvalidRequest, match="none to continue"):
        LogWriter(null, RUN, ROWS, resume=True)


def test_a_log_is_not_continued_with_other_images(tmp_path: Path) -> None:
    log, changed = tmp_path / "log.tsv", RUN.model_copy(update={"data_sha256": "b"})
    LogWriter(log, RUN.model_copy(update={"data_sha256": "a"}), ROWS, resume=False).__exit__(None, None, None)
    with pytest.raises(InvalidRequest, match="files of stand-in have changed"):
        LogWriter(log, changed, ROWS, resume=True)
    old = tmp_path / "old.tsv"
    LogWriter(old, RUN, ROWS, resume=False).__exit__(None, None, None)
    LogWriter(old, changed, ROWS, resume=True).__exit__(None, None, None)


def test_without_rows_no_figure_is_written_to_a_card(tmp_path: Path) -> None:
    card = card_with(dataset="stand-in")
    (tmp_path / CARD_FILE).write_text(card.model_dump_json())
    with pytest.raises(InvalidRequest, match="no image was certified"):
        write_card_figures(tmp_path, [], RUN)
    assert read_card(tmp_path) == card
