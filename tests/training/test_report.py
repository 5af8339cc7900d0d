import csv
import json
import re
from pathlib import Path

import pytest

from smoothcert.errors import InvalidRequest
from smoothcert.schemas.evaluation_log import Log
from tests.training.rows import evidence, rows
from training.report import Report, make_report, parse_radii, render
from training.summary import summarize, wilson_interval

BARE = """idx label predict radius correct time
0 7 7 0.953 1 0:00:00.3
1 9 -1 0.0 0 0:00:00.3
2 1 2 0.4 0 0:00:00.3
3 4 4 0.25 1 0:00:00.3
4 5 5 0.000 1 0:00:00.3
"""


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    path = tmp_path / "gaussian_0.25.tsv"
    path.write_text(BARE)
    return path


def test_json_has_the_documented_fields(bare: Path) -> None:
    (record,) = json.loads(render(make_report([bare], parse_radii("0,0.25,0.5,1.50")), "json"))
    assert record["log"] == str(bare)
    assert record["images"] == 5
    assert record["acr"] == pytest.approx((0.953 + 0.25) / 5)
    assert record["certified_accuracy"] == {"0": 0.6, "0.25": 0.2, "0.5": 0.2, "1.50": 0.0}
    assert record["abstention_rate"] == 0.2
    assert isinstance(record["warnings"], list)


def test_csv_has_one_line_a_log(bare: Path) -> None:
    table = list(csv.DictReader(render(make_report([bare, bare], ("0", "0.25")), "csv").splitlines()))
    assert len(table) == 2
    assert float(table[0]["certified_accuracy@0.25"]) == 0.2
    assert float(table[0]["acr"]) == pytest.approx(0.2406)
    assert next(iter(table[0])) == "log"
    assert list(table[0])[-1] == "warnings"
    low, high = wilson_interval(0.2, 5)
    assert float(table[0]["certified_accuracy@0.25_low"]) == pytest.approx(low)
    assert float(table[0]["certified_accuracy@0.25_high"]) == pytest.approx(high)
    assert float(table[0]["acr_low"]) < 0.2406 < float(table[0]["acr_high"])
    assert "p_correct@0.5" not in table[0]


def test_csv_has_quantiles_of_p_a_for_logs_with_evidence(bare: Path) -> None:
    ours = Log("ours", rows(10, evidence=evidence(counts=(900, *[100] * 9))))
    report = Report((), (summarize(ours, ("0",)), make_report([bare], ("0",)).summaries[0]))
    first, second = csv.DictReader(render(report, "csv").splitlines())
    assert float(first["p_correct@0.5"]) == 0.1
    assert second["p_correct@0.5"] == ""


def test_markdown_explains_the_spread(bare: Path) -> None:
    assert "±: 95 % interval over images" in render(make_report([bare], ("0",)), "markdown")


def test_the_best_of_several_logs_is_bold_and_of_one_alone_nothing_is(bare: Path, tmp_path: Path) -> None:
    better = tmp_path / "better_1.tsv"
    better.write_text(BARE.replace("2 1 2 0.4 0", "2 2 2 0.4 1"))
    both = re.sub(" +", " ", render(make_report([bare, better], ("0", "0.5")), "markdown"))
    assert "| **0.3206** ±" in both
    assert "| **80.0** | **20.0** | 20.0 |" in both
    assert "| 60.0 | **20.0** |" in both
    assert "**" not in render(make_report([bare], ("0", "0.5")), "markdown")
    latex = render(make_report([bare, better], ("0", "0.5")), "latex")
    assert "\\textbf{80.0}" in latex
    assert "better\\_1.tsv" in latex


def test_an_unknown_format_is_refused_naming_the_known_ones(bare: Path) -> None:
    with pytest.raises(InvalidRequest, match="markdown, csv, latex, json"):
        render(make_report([bare], ("0",)), "yaml")


@pytest.mark.parametrize("text", ["", "a", "0,-1", "0,nan", "inf"])
def test_radii_must_be_numbers_from_0(text: str) -> None:
    with pytest.raises(InvalidRequest, match="--radii"):
        parse_radii(text)


def test_a_log_without_rows_gives_zeros_and_a_warning(tmp_path: Path) -> None:
    empty = tmp_path / "empty.tsv"
    empty.write_text(BARE.splitlines()[0] + "\n")
    report = make_report([empty], ("0", "0.25"))
    (record,) = json.loads(render(report, "json"))
    assert (record["images"], record["acr"], record["certified_accuracy"]) == (0, 0, {"0": 0, "0.25": 0})
    assert record["warnings"] == ["no images: nothing was measured"]
    for name in ("markdown", "csv", "latex"):
        assert "empty.tsv" in render(report, name)


def test_log_names_are_escaped_in_latex(tmp_path: Path) -> None:
    odd = tmp_path / "50%_{a}&b.tsv"
    odd.write_text(BARE)
    assert "50\\%\\_\\{a\\}\\&b.tsv & 5" in render(make_report([odd], ("0",)), "latex")


def test_a_report_of_no_logs_is_an_empty_list() -> None:
    assert json.loads(render(Report((), ()), "json")) == []
