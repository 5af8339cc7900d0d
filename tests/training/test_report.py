import csv
import json
from pathlib import Path

import pytest

from smoothcert.errors import InvalidRequest
from training.caveats import caveats
from training.log import Evidence, Log, Row
from training.plot import _labels, accuracy_curve, save_plot
from training.report import Report, make_report, parse_radii, render
from training.summary import certified_accuracy, summarize, wilson_interval

BARE = """idx label predict radius correct time
0 7 7 0.953 1 0:00:00.3
1 9 -1 0.0 0 0:00:00.3
2 1 2 0.4 0 0:00:00.3
3 4 4 0.25 1 0:00:00.3
4 5 5 0.000 1 0:00:00.3
"""


def evidence(
    alpha: float = 0.001, n: int = 1000, counts: tuple[int, ...] = (990, 10), sigma: float = 0.5
) -> Evidence:
    return Evidence(100, n, alpha, sigma, "one_sided", 0.97, 0.03, counts, "ab")


def rows(count: int, step: int = 1, **changes: object) -> tuple[Row, ...]:
    """Right answers over ten classes, radius 0.5."""
    return tuple(
        Row(**{**vars(Row(i * step, i % 10, i % 10, 0.5, True, 0.1)), **changes}) for i in range(count)
    )


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    path = tmp_path / "gaussian_0.25.tsv"
    path.write_text(BARE)
    return path


def test_json_holds_what_the_contract_names(bare: Path) -> None:
    (record,) = json.loads(render(make_report([bare], parse_radii("0,0.25,0.5,1.50")), "json"))
    assert record["log"] == str(bare)
    assert record["images"] == 5
    assert record["acr"] == pytest.approx((0.953 + 0.25) / 5)
    assert record["certified_accuracy"] == {"0": 0.6, "0.25": 0.2, "0.5": 0.2, "1.50": 0.0}
    assert record["abstention_rate"] == 0.2
    assert isinstance(record["warnings"], list)


def test_certified_accuracy_counts_radii_larger_than_r_but_every_certificate_at_0() -> None:
    some = (*rows(1, radius=0.25), *rows(1, radius=0.0), *rows(1, radius=0.0, predict=-1, correct=False))
    assert certified_accuracy(some, 0.25) == 0
    assert certified_accuracy(some, 0.2499) == pytest.approx(1 / 3)
    assert certified_accuracy(some, 0) == pytest.approx(2 / 3)


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


def test_csv_tells_the_spread_of_p_a_where_a_log_does(bare: Path) -> None:
    ours = Log("ours", rows(10, evidence=evidence(counts=(900, *[100] * 9))))
    report = Report((), (summarize(ours, ("0",)), make_report([bare], ("0",)).summaries[0]))
    first, second = csv.DictReader(render(report, "csv").splitlines())
    assert float(first["p_correct@0.5"]) == 0.1
    assert second["p_correct@0.5"] == ""


def test_what_the_spread_means_is_said(bare: Path) -> None:
    assert "±: 95 % interval over images" in render(make_report([bare], ("0",)), "markdown")


def test_the_best_of_several_logs_is_bold_and_of_one_alone_nothing_is(bare: Path, tmp_path: Path) -> None:
    better = tmp_path / "better_1.tsv"
    better.write_text(BARE.replace("2 1 2 0.4 0", "2 2 2 0.4 1"))
    both = render(make_report([bare, better], ("0", "0.5")), "markdown")
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


def test_a_whole_even_test_set_with_one_protocol_has_no_caveat() -> None:
    assert caveats(Log("a", rows(10_000, evidence=evidence()))) == []


def test_mixed_alpha_is_told_within_a_log_and_between_logs() -> None:
    strict, lax = rows(10_000, evidence=evidence(0.001)), rows(10_000, evidence=evidence(0.01))
    assert caveats(Log("a", strict[:5000] + lax[5000:])) == ["mixed alpha: 0.001, 0.01"]
    (told,) = caveats(Log("a", strict), [Log("b", lax)])
    assert told.startswith("mixed alpha: 0.001 here, 0.01 in b")


def test_the_alpha_of_a_bare_log_is_read_off_its_largest_radius() -> None:
    # sigma 0.5, n = 100 000: at alpha = .001 no radius exceeds 1.90573, at .01 none exceeds 1.95526
    strict, lax = Log("a", rows(10_000, radius=1.906)), Log("b", rows(10_000, radius=1.955))
    assert any("mixed alpha: 0.001 here, 0.01 in b" in told for told in caveats(strict, [lax]))
    assert any("rounded up" in told for told in caveats(strict))
    assert caveats(lax) == []


def test_subsets_and_different_images_are_told() -> None:
    (told,) = caveats(Log("a", rows(500, step=20)))
    assert told == "a subset: 500 images in steps of 20 (idx 0, 20, ...)"
    assert "427 images is no whole test set" in caveats(Log("a", rows(427)))[0]
    against = caveats(Log("a", rows(500, step=20)), [Log("b", rows(10_000))])
    assert "not the same images: a subset of 500 here, 10000 in b" in against


def test_duplicates_are_told() -> None:
    assert "duplicates: 1 image counted more than once" in caveats(Log("a", (*rows(10), *rows(1))))


def test_collapsed_classifiers_are_told() -> None:
    constant = tuple(Row(i, i % 10, 3, 1.9, i % 10 == 3, 0.1) for i in range(10_000))
    assert any(
        "collapsed: 10000 of 10000 answers are class 3" in told for told in caveats(Log("a", constant))
    )
    three = tuple(Row(i, i % 10, i % 3, 1.9, i % 10 == i % 3, 0.1) for i in range(10_000))
    assert "collapsed: it answers with 3 of 10 classes only" in caveats(Log("a", three))
    silent = rows(10_000, predict=-1, correct=False, radius=0.0)
    assert "collapsed: it abstains on every image" in caveats(Log("a", silent))


def test_mixed_sigma_and_n_and_unproved_radii_are_told() -> None:
    mixed = rows(5000, evidence=evidence(sigma=0.25)) + rows(5000, evidence=evidence(n=500, counts=(490, 10)))
    told = caveats(Log("a", mixed))
    assert "mixed sigma: 0.25, 0.5" in told
    assert "mixed n: 500, 1000" in told
    assert caveats(Log("a", rows(10_000, radius=1.3, evidence=evidence()))) == [
        "unproved: 10000 radii are larger than their n and alpha can prove"
    ]


def test_rows_that_contradict_themselves_are_told() -> None:
    told = caveats(Log("a", rows(10_000, evidence=evidence(n=500), correct=False)))
    assert "contradiction: in 10000 rows `correct` is not `label = predict`; `correct` was believed" in told
    assert "contradiction: in 10000 rows the counts add up to more than the n votes drawn" in told


def test_p_correct_is_the_share_of_noisy_copies_classified_as_the_label_says() -> None:
    some = [Row(i, 1, 1, 0.1, True, 0.1, evidence(counts=(1000 - 10 * i, 10 * i))) for i in range(100)]
    quantiles = summarize(Log("a", tuple(some)), ("0",)).p_correct
    assert quantiles is not None
    assert quantiles["0.5"] == 0.5
    assert quantiles["0.05"] == 0.05
    assert summarize(Log("a", rows(5)), ("0",)).p_correct is None


def test_intervals_cover_what_they_claim() -> None:
    # 19 of 20 by Wilson 1927, as tabulated: 0.7639 to 0.9911
    assert wilson_interval(0.95, 20) == pytest.approx((0.7639, 0.9911), abs=1e-4)
    low, high = summarize(Log("a", rows(50, radius=1.0) + rows(50, correct=False)), ("0",)).acr_interval
    assert (low, high) == pytest.approx((0.5 - 0.0985, 0.5 + 0.0985), abs=1e-3)


def test_the_curve_is_exact_at_every_radius() -> None:
    log = Log("a", (*rows(1, radius=0.25), *rows(1, radius=0.5), *rows(2, correct=False)))
    assert accuracy_curve(log) == ([0.0, 0.25, 0.5], [0.5, 0.25, 0.0])


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_plots_are_written_and_repeatable(bare: Path, tmp_path: Path, suffix: str) -> None:
    with_evidence = Log("b", rows(20, evidence=evidence(counts=(50, 40, 30))))
    logs = [*make_report([bare], ("0",)).logs, with_evidence]
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    save_plot(logs, first)
    save_plot(logs, second)
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes().startswith(b"\x89PNG" if suffix == ".png" else b"<?xml")


def test_curves_are_named_by_their_files_also_where_a_name_ends_in_a_number() -> None:
    names = ["logs/a_0.25", "b_0.5.tsv", "gaussian (scale 0.01)"]
    assert _labels([Log(name, ()) for name in names]) == ["a_0.25", "b_0.5", "gaussian (scale 0.01)"]


def test_a_log_without_rows_can_be_plotted(tmp_path: Path) -> None:
    save_plot([Log("empty", ()), Log("folder/empty", ())], tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_names_are_safe_in_latex(tmp_path: Path) -> None:
    odd = tmp_path / "50%_{a}&b.tsv"
    odd.write_text(BARE)
    assert "50\\%\\_\\{a\\}\\&b.tsv & 5" in render(make_report([odd], ("0",)), "latex")


@pytest.mark.parametrize("name", ["a.pdf", "no/folder/a.png"])
def test_a_plot_that_cannot_be_written_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidRequest, match="--plot"):
        save_plot([], tmp_path / name)


def test_a_report_of_no_logs_is_an_empty_list() -> None:
    assert json.loads(render(Report((), ()), "json")) == []
