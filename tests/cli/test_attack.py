"""The command in this process, on a bundled model that certifies something and a small data set."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from smoothcert.attack.attack import AttackResult
from smoothcert.attack.bare import BareResult
from smoothcert.cli.attack_results import COLUMNS, AttackedImage, AttackTotals, curves, log_line, read_lines
from smoothcert.errors import InvalidRequest
from smoothcert.schemas.evaluation_log import Row
from smoothcert.schemas.evaluation_run import run_path
from tests.cli.conftest import DATA, MODEL, ROOT, SETUP, Command

TRAINED = ROOT / "models/mnist-lenet-consistency-0.50"
TINY = ("--n", "400", "--restarts", "1", "--steps", "3", "--noises", "4", "--check-votes", "200")
TINY = (*TINY, "--inside-votes", "400", "--bare-steps", "20")
ASKED = (
    "attack",
    TRAINED,
    "--dataset",
    "mnist",
    "--data-root",
    DATA / "mnist-tiny",
    "--engine",
    SETUP,
    *TINY,
)


def test_certificates_hold_inside_and_break_outside(inside: Command, tmp_path: Path) -> None:
    log, plot = tmp_path / "log.tsv", tmp_path / "curves.svg"
    few = ("--every", "2", "--limit", "2", "--seed", "3")
    done = inside(*ASKED, *few, "--json", "--out", log, "--plot", plot)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert [one["idx"] for one in document["images"]] == [0, 2]
    totals = document["totals"]
    assert totals["images"] == totals["certified"] == 2
    assert totals["broken_inside"] == 0
    assert totals["broken_outside"] >= 1  # steps enough for that, at up to four times a radius from few votes
    assert totals["mean_gap"] > 1
    for one in document["images"]:
        assert one["broken_radius"] is None or one["broken_radius"] > one["radius"]
        assert one["bare_class"] == one["label"]
        assert one["bare_radius"] > 0
    assert (totals["bare_right"], totals["bare_broken"]) == (2, 2)
    assert document["resolution"] > 0
    first, last = document["curves"][0], document["curves"][-1]
    assert (first["proved"], first["attacked"], first["bare"]) == (1, 1, 1)
    assert (last["proved"], last["bare"]) == (0, 0)
    drawn = ElementTree.parse(plot).getroot().tag
    assert drawn.endswith("svg")
    lines = [line.split("\t") for line in log.read_text().splitlines()]
    assert lines[0] == list(COLUMNS)
    assert [line[0] for line in lines[1:]] == ["0", "2"]
    assert document["budget"]["alpha"] == document["run"]["alpha"] == 0.001


def test_a_resumed_run_ends_like_one_that_was_not_killed(inside: Command, tmp_path: Path) -> None:
    whole, log = tmp_path / "whole.tsv", tmp_path / "log.tsv"
    asked = (*ASKED, "--every", "2", "--limit", "2", "--json")
    full = inside(*asked, "--seed", "3", "--out", whole)
    kept = whole.read_text().splitlines(keepends=True)
    log.write_text("".join(kept[:2]) + kept[2][:9])  # a kill cut the last line short
    run_path(log).write_bytes(run_path(whole).read_bytes())
    again = inside(*asked, "--out", log, "--resume")  # the seed is kept
    assert again.returncode == 0, again.stderr
    assert _untimed(log.read_text()) == _untimed(whole.read_text())
    one, other = (json.loads(done.stdout) for done in (full, again))
    assert one["totals"] == other["totals"]
    assert one["curves"] == other["curves"]
    before = log.read_bytes()
    nothing = inside(*asked, "--out", log, "--resume")  # nothing is left to attack
    assert json.loads(nothing.stdout)["images"] == other["images"]
    for arguments, complaint in [
        (("--out", log), "--resume continues it"),
        (("--out", log, "--resume", "--restarts", "2"), "was made with restarts 1, not 2"),
        (("--out", log, "--resume", "--seed", "4"), "was made with seed 3, not 4"),
        (("--resume",), "name it with --out"),
    ]:
        done = inside(*asked, *arguments)
        assert done.returncode == 2
        assert complaint in done.stderr
    assert log.read_bytes() == before


def _untimed(log: str) -> list[list[str]]:
    return [line.split("\t")[:8] + line.split("\t")[9:] for line in log.splitlines()]


def test_a_log_of_something_else_is_refused() -> None:
    header = "\t".join(COLUMNS) + "\n"
    for text in ("", "idx\tlabel\n", header + "1\t2\n", header + "\t".join("x" * len(COLUMNS)) + "\n"):
        with pytest.raises(InvalidRequest, match="is no log of smoothcert attack"):
            read_lines(text, "log.tsv")


def test_the_answer_for_people_says_how_many_broke(inside: Command) -> None:
    done = inside(*ASKED, "--limit", "1", "--farthest", "1", "--bare-steps", "0")
    assert done.returncode == 0, done.stderr
    assert "bare network" not in done.stdout
    assert "sigma) is broken at least half of the time" in done.stdout
    assert "smoothed, attacked" in done.stdout
    assert "broken inside the certified radius: 0" in done.stdout
    assert done.stdout.split()[: len(COLUMNS)] == list(COLUMNS)


def test_invalid_options_are_refused_before_any_vote(inside: Command, tmp_path: Path) -> None:
    kept = tmp_path / "log.tsv"
    kept.write_text("mine")
    for arguments, complaint in [
        (("--procedure", "predict"), "no radius"),
        (("--check-votes", "10"), "can never prove a break: the least is"),
        (("--n", "9"), "the least n is"),
        (("--out", kept), "is there already"),
        (("--out", tmp_path / "no/log.tsv"), "can't be written"),
        (("--plot", tmp_path / "plot.pdf"), "must end in .png or .svg"),
    ]:
        done = inside(*ASKED, *arguments)
        assert done.returncode == 2
        assert complaint in done.stderr
        assert done.stdout == ""
    assert kept.read_text() == "mine"


def test_abstentions_are_no_certificates_to_break(inside: Command) -> None:
    done = inside(*ASKED, "--limit", "0", "--json")
    assert json.loads(done.stdout)["totals"]["mean_gap"] is None
    row = Row(idx=4, label=1, predict=-1, radius=0.0, correct=False, seconds=0.25)
    attacked = AttackedImage.of(row, None, 0.25)
    assert attacked.cells == ["4", "1", "-1", "0.000000", "-", "-", "-", "-", "0.2", "-", "-"]
    assert attacked.document["bare_radius"] is None
    assert attacked.document["class"] is None
    totals = AttackTotals.of([attacked])
    assert (totals.abstained, totals.certified, totals.broken_inside) == (1, 0, 0)


def test_totals_tell_inside_from_outside_and_round_to_the_safe_side() -> None:
    row = Row(idx=0, label=1, predict=1, radius=0.5, correct=True, seconds=0.0)
    broken = AttackedImage.of(row, AttackResult(0.5, 0.4, 3), 1.0)
    outside = AttackedImage.of(row, AttackResult(0.5, 0.75 + 1e-12, 3), 1.0)
    intact = AttackedImage.of(row, AttackResult(0.5, None, 3), 1.0)
    totals = AttackTotals.of([broken, outside, intact])
    assert (totals.broken_inside, totals.broken_outside, totals.certified) == (1, 1, 3)
    assert totals.mean_gap is not None
    assert 0 <= totals.mean_gap - 1.15 < 1e-5
    assert broken.cells[4] == "1"
    assert outside.cells[4:6] == ["0", "0.750001"]


def test_curves_count_the_images_that_stand() -> None:
    def image(correct: bool, result: AttackResult | None, bare: BareResult | None) -> AttackedImage:
        return AttackedImage.of(Row(0, 1, 1 if correct else 2, 0.5, correct, 0.0), result, 1.0, bare)

    found = BareResult(1, 0.3, 2, np.zeros((1, 2, 2)))
    never, wrong = BareResult(1), BareResult(2, 0.7, 1, np.zeros((1, 2, 2)))
    attacked = [
        image(True, AttackResult(0.5, 0.9, 1), found),
        image(True, AttackResult(0.5, None, 1), never),
        image(False, AttackResult(0.5, 0.6, 1), wrong),
        image(True, None, found),
    ]
    assert [(p.radius, p.proved, p.attacked, p.bare) for p in curves(attacked)] == [
        (0.0, 0.5, 0.5, 0.75),
        (0.25, 0.5, 0.5, 0.75),
        (0.5, 0.5, 0.5, 0.25),
        (0.75, 0.0, 0.5, 0.25),
        (1.0, 0.0, 0.25, 0.25),
    ]
    assert AttackTotals.of(attacked).bare_right == 3
    assert attacked[0].cells[-2:] == ["1", "0.300000"]
    assert attacked[1].cells[-2:] == ["1", "-"]
    header = "\t".join(COLUMNS) + "\n"
    assert read_lines(header + "".join(map(log_line, attacked)), "log.tsv") == attacked
    assert curves([]) == []
    assert curves([image(True, None, None)])[0].bare is None


def test_a_data_set_the_model_does_not_take_is_refused(inside: Command) -> None:
    done = inside("attack", MODEL, "--dataset", f"folder:{DATA / 'folder-tiny'}", "--engine", SETUP)
    assert done.returncode == 2
    what_was_found, refusal = done.stderr.splitlines()
    assert what_was_found.startswith("12 training images of 3 classes")
    assert refusal.startswith("smoothcert: folder:")
