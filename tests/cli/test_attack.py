"""The command in this process, on a bundled model that certifies something and a small data set."""

import json
from pathlib import Path

from smoothcert.attack.attack import AttackResult
from smoothcert.cli.attack import COLUMNS, AttackedImage, AttackTotals
from smoothcert.schemas.evaluation_log import Row
from tests.cli.conftest import DATA, MODEL, ROOT, SETUP, Command

TRAINED = ROOT / "models/mnist-lenet-consistency-0.50"
TINY = ("--n", "400", "--restarts", "1", "--steps", "3", "--noises", "4", "--check-votes", "200")
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
    log = tmp_path / "log.tsv"
    done = inside(*ASKED, "--every", "2", "--limit", "2", "--seed", "3", "--json", "--out", log)
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
    lines = [line.split("\t") for line in log.read_text().splitlines()]
    assert lines[0] == list(COLUMNS)
    assert [line[0] for line in lines[1:]] == ["0", "2"]
    assert document["budget"]["alpha"] == document["run"]["alpha"] == 0.001


def test_the_answer_for_people_says_how_many_broke(inside: Command) -> None:
    done = inside(*ASKED, "--limit", "1", "--farthest", "1")
    assert done.returncode == 0, done.stderr
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
    attacked = AttackedImage(row, None, 0.25)
    assert attacked.cells == ["4", "1", "-1", "0.000000", "-", "-", "-", "-", "0.2"]
    assert attacked.document["class"] is None
    totals = AttackTotals.of([attacked])
    assert (totals.abstained, totals.certified, totals.broken_inside) == (1, 0, 0)


def test_totals_tell_inside_from_outside_and_round_to_the_safe_side() -> None:
    row = Row(idx=0, label=1, predict=1, radius=0.5, correct=True, seconds=0.0)
    broken = AttackedImage(row, AttackResult(0.5, 0.4, 3), 1.0)
    outside = AttackedImage(row, AttackResult(0.5, 0.75 + 1e-12, 3), 1.0)
    intact = AttackedImage(row, AttackResult(0.5, None, 3), 1.0)
    totals = AttackTotals.of([broken, outside, intact])
    assert (totals.broken_inside, totals.broken_outside, totals.certified) == (1, 1, 3)
    assert totals.mean_gap is not None
    assert abs(totals.mean_gap - 1.15) < 1e-9
    assert broken.cells[4] == "1"
    assert outside.cells[4:6] == ["0", "0.750001"]


def test_a_data_set_the_model_does_not_take_is_refused(inside: Command) -> None:
    done = inside("attack", MODEL, "--dataset", f"folder:{DATA / 'folder-tiny'}", "--engine", SETUP)
    assert done.returncode == 2
    what_was_found, refusal = done.stderr.splitlines()
    assert what_was_found.startswith("12 training images of 3 classes")
    assert refusal.startswith("smoothcert: folder:")
