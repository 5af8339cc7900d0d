import re
from pathlib import Path

from tests.cli.conftest import DATA, MODEL, Command

ROOT = ("--data-root", DATA / "mnist-tiny")


QUICK = ("--scale", "0.01", "--precision", "float32")  # nothing is measured


def unpadded(markdown: str) -> str:
    """Without the spaces that align columns."""
    return re.sub(" +", " ", markdown)


def test_what_is_missing_is_trained_and_certified_once(inside: Command, tmp_path: Path) -> None:
    ask = (
        *("reproduce", "mnist", *ROOT, "--out", tmp_path, "--only", "gaussian-0.50"),
        *("--scale", "0.01", "--n", "100"),
    )
    first = inside(*ask)
    assert first.returncode == 0, first.stderr
    assert f"training {MODEL}-x0.01" in first.stderr  # the untrained model of that name is no such recipe
    assert "**Scale 0.01" in first.stdout
    assert "- gaussian: trained at scale 0.01 (1 epochs), not as published" in first.stdout
    assert "| **gaussian (scale 0.01, n = 100, 1 image in 20)** here | 5 |" in unpadded(first.stdout)
    assert "| published, the same images | | 1.5370 |" in unpadded(first.stdout)
    assert "| difference, not like with like |" in unpadded(first.stdout)
    assert re.search(r"^training in (float32|bfloat16)/(channels-last|contiguous)", first.stderr, re.M)
    again = inside(*ask)
    assert "training" not in again.stderr
    assert again.stdout == first.stdout


def test_what_is_unfinished_is_continued_unless_that_is_refused(inside: Command, tmp_path: Path) -> None:
    ask = ("reproduce", "mnist", *ROOT, "--out", tmp_path, "--only", "gaussian-0.50", *QUICK)
    assert inside(*ask, "--n", "100").returncode == 0
    log = tmp_path / f"{MODEL}-x0.01.tsv"
    whole = log.read_text()
    log.write_text(whole[: whole.rindex("\n", 0, -1) + 20])  # killed within the last row
    refused = inside(*ask, "--n", "100", "--no-resume")
    assert refused.returncode == 2
    assert "--resume continues it" in refused.stderr
    continued = inside(*ask, "--n", "100", "--resume", "--format", "latex")
    assert continued.returncode == 0, continued.stderr
    rows = [line.split("\t") for line in log.read_text().splitlines()]
    assert [row[:5] + row[6:] for row in rows] == [
        (cells := line.split("\t"))[:5] + cells[6:] for line in whole.splitlines()
    ]
    assert "\\begin{tabular}" in continued.stdout
    assert (tmp_path / "mnist.svg").exists()


def test_a_log_of_other_weights_is_left_out(inside: Command, tmp_path: Path) -> None:
    ask = ("reproduce", "mnist", *ROOT, "--out", tmp_path, "--only", "gaussian-0.50", *QUICK)
    assert inside(*ask, "--n", "100").returncode == 0
    run = tmp_path / f"{MODEL}-x0.01.tsv.run.json"
    run.write_text(re.sub(r'("weights_sha256": ")\w{4}', r"\g<1>0000", run.read_text()))
    done = inside(*ask, "--no-evaluate")
    assert done.returncode == 0, done.stderr
    assert "is left out: it is of other weights" in done.stderr
    assert "- gaussian: not evaluated" in done.stdout


def test_nothing_is_trained_where_that_is_not_wanted(inside: Command, tmp_path: Path) -> None:
    done = inside("reproduce", "table3", *ROOT, "--out", tmp_path, "--no-train")
    assert done.returncode == 0, done.stderr
    assert "| **MACER** here | 4 | – | – | – | – |" in unpadded(done.stdout)
    assert "- MACER: not trained" in done.stdout


def test_figure_1_draws_the_gaps_of_what_there_is(inside: Command, tmp_path: Path) -> None:
    done = inside(
        *("reproduce", "figure1", *ROOT, "--out", tmp_path),
        *("--only", "gaussian", "--scale", "0.01", "--precision", "float32"),
    )
    assert done.returncode == 0, done.stderr
    assert "training in" not in done.stderr  # nothing was measured
    assert "| gaussian (scale 0.01) |" in unpadded(done.stdout)
    assert (tmp_path / "figure1.svg").exists()


def test_the_experiments_are_listed(inside: Command) -> None:
    assert {"table1", "table4", "figure3"} <= set(inside("reproduce", "--list").stdout.split())


def test_a_shortened_cat_rs_has_a_shortened_teacher_of_its_own(inside: Command, tmp_path: Path) -> None:
    done = inside(
        *("reproduce", "cat-rs", *ROOT, "--out", tmp_path, "--only", "mnist-lenet-cat-rs-0.50"),
        *("--scale", "0.001", "--n", "100", "--every", "50", "--precision", "float32"),
    )
    assert done.returncode == 0, done.stderr
    assert "training the teacher mnist-lenet-teacher-1" in done.stderr
    assert "counting 10 votes of mnist-lenet-teacher-1 on each of 200 images" in done.stderr
    assert "| **cat-rs (scale 0.001, n = 100, 1 image in 50)** here | 2 |" in unpadded(done.stdout)
