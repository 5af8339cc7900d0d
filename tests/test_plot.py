from pathlib import Path

import pytest

from smoothcert.errors import InvalidRequest
from smoothcert.plot import _labels, accuracy_curve, save_plot
from smoothcert.schemas.evaluation_log import Log
from tests.training.rows import evidence, rows


def test_accuracy_curve_drops_at_every_radius() -> None:
    log = Log("a", (*rows(1, radius=0.25), *rows(1, radius=0.5), *rows(2, correct=False)))
    assert accuracy_curve(log) == ([0.0, 0.25, 0.5], [0.5, 0.25, 0.0])


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_same_logs_give_the_same_plot_file(tmp_path: Path, suffix: str) -> None:
    with_evidence = Log("b", rows(20, evidence=evidence(counts=(50, 40, 30))))
    logs = [Log("a", rows(5)), with_evidence]
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    save_plot(logs, first)
    save_plot(logs, second)
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes().startswith(b"\x89PNG" if suffix == ".png" else b"<?xml")


def test_labels_are_file_names_and_keep_trailing_numbers() -> None:
    names = ["logs/a_0.25", "b_0.5.tsv", "gaussian (scale 0.01)"]
    assert _labels([Log(name, ()) for name in names]) == ["a_0.25", "b_0.5", "gaussian (scale 0.01)"]


def test_a_log_without_rows_can_be_plotted(tmp_path: Path) -> None:
    save_plot([Log("empty", ()), Log("folder/empty", ())], tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000


@pytest.mark.parametrize("name", ["a.pdf", "no/folder/a.png"])
def test_a_plot_path_that_cannot_be_written_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidRequest, match="--plot"):
        save_plot([], tmp_path / name)
