"""A report over logs as Markdown, CSV, LaTeX or JSON."""

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tabulate import tabulate

from smoothcert.errors import InvalidRequest
from smoothcert.schemas.evaluation_log import Log, read_log
from smoothcert.schemas.evaluation_run import read_run
from training.summary import Interval, Summary, mean_over_seeds, summarize

SPREAD = "±: 95 % interval over images; of a mean over seeds, over seeds."
MOST_CLASSES = 20  # of which a table is shown
DEFAULT_RADII = "0,0.25,0.5,0.75,1,1.25,1.5,1.75,2,2.25,2.5"


@dataclass(frozen=True)
class Report:
    """Logs with their figures, in the order given."""

    logs: tuple[Log, ...]
    summaries: tuple[Summary, ...]


def make_report(paths: Sequence[Path], radii: Sequence[str]) -> Report:
    """Read the logs and compare them with each other. Raises InvalidRequest for a malformed log."""
    logs = tuple(map(_read, paths))
    summaries = [summarize(log, radii, [other for other in logs if other is not log]) for log in logs]
    return Report(logs, tuple(summaries))


def with_mean(report: Report) -> Report:
    """The report with one more line: the mean over its logs, as seeds of one recipe.

    Raises InvalidRequest.
    """
    return replace(report, summaries=(*report.summaries, mean_over_seeds(report.summaries)))


def parse_radii(text: str) -> tuple[str, ...]:
    """`0,0.25,...` as written, since the texts name the columns. Raises InvalidRequest."""
    radii = tuple(part.strip() for part in text.split(",") if part.strip())
    if not radii or not all(map(_is_radius, radii)):
        raise InvalidRequest(
            f"--radii {text!r} is not a list of radii; write numbers from 0 with commas: 0,0.25,0.5."
        )
    return radii


def render(report: Report, format_name: str) -> str:
    """The report as text, in one of FORMATS. Raises InvalidRequest for another one."""
    if format_name not in FORMATS:
        raise InvalidRequest(f"There is no format {format_name!r}; there are: {', '.join(FORMATS)}.")
    return FORMATS[format_name](report.summaries)


def to_json(summaries: Sequence[Summary]) -> str:
    """A list with one object per log. Shares are in [0,1]; certified_accuracy has the radii as written."""
    return json.dumps([_json_object(summary) for summary in summaries], indent=2) + "\n"


def to_csv(summaries: Sequence[Summary]) -> str:
    """One line per log. Shares are in [0,1]; warnings are joined with semicolons in the last column."""
    text = io.StringIO()
    columns = list(dict.fromkeys(name for s in summaries for name in _csv_columns(s)))
    writer = csv.DictWriter(text, ["log", *columns, "warnings"], lineterminator="\n")
    writer.writeheader()
    for s in summaries:
        writer.writerow({"log": s.log, **_csv_columns(s), "warnings": "; ".join(s.warnings)})
    return text.getvalue()


def to_markdown(summaries: Sequence[Summary]) -> str:
    """Tables in percent and the warnings. With several logs the best figure of each column is bold."""
    rows = _table_rows(summaries, bold=lambda cell: f"**{cell}**", spread=" ± ")
    parts = [markdown_table(_header(summaries), rows)]
    parts += [SPREAD] if any(s.images for s in summaries) else []
    parts += _class_tables(summaries)
    parts += _p_correct_table(summaries)
    warnings = [f"- {s.log}: {warning}" for s in summaries for warning in s.warnings]
    parts += ["\n".join(["Beware:", *warnings])] if warnings else []
    return "\n\n".join(parts) + "\n"


def to_latex(summaries: Sequence[Summary]) -> str:
    """A booktabs table in percent. With several logs the best figure of each column is bold."""
    # pandas, which writes it, takes a second to load.
    from pandas import DataFrame  # noqa: PLC0415

    rows = _table_rows(summaries, bold=lambda cell: f"\\textbf{{{cell}}}", spread=" $\\pm$ ")
    header = _header(summaries)
    styled = DataFrame(rows, columns=header).style.hide(axis="index").format(escape="latex", subset=["log"])
    table: str = styled.to_latex(hrules=True, column_format="l" + "r" * (len(header) - 1))
    return "".join(f"% {s.log}: {warning}\n" for s in summaries for warning in s.warnings) + table


FORMATS: dict[str, Callable[[Sequence[Summary]], str]] = {
    "markdown": to_markdown,
    "csv": to_csv,
    "latex": to_latex,
    "json": to_json,
}


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table of texts: the first column left-aligned, the others right-aligned."""
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    align = ("left", *["right"] * (len(header) - 1))
    return tabulate(escaped, list(header), tablefmt="pipe", colalign=align, disable_numparse=True)


def _read(path: Path) -> Log:
    run = read_run(path)
    return replace(read_log(path), of=run.split_images if run else None)


def _json_object(s: Summary) -> dict[str, Any]:
    intervals = zip(s.radii, s.certified_accuracy_intervals, strict=True)
    return {
        "log": s.log,
        "images": s.images,
        "acr": s.acr,
        "acr_interval": list(s.acr_interval),
        "median_radius": s.median_radius,
        "certified_accuracy": dict(zip(s.radii, s.certified_accuracy, strict=True)),
        "certified_accuracy_interval": {radius: list(interval) for radius, interval in intervals},
        "certified_accuracy_by_class": {
            str(label): dict(zip(s.radii, shares, strict=True)) for label, shares in s.by_class.items()
        },
        "abstention_rate": s.abstention_rate,
        "p_correct": s.p_correct,
        "seconds_per_image": s.seconds_per_image,
        "warnings": list(s.warnings),
    }


def _header(summaries: Sequence[Summary]) -> list[str]:
    return ["log", "images", "ACR", "median", *(f"r={radius}" for radius in _radii(summaries)), "abstained"]


def _table_rows(summaries: Sequence[Summary], bold: Callable[[str], str], spread: str) -> list[list[str]]:
    """Log, images, ACR, accuracies and abstentions in percent; the best of several logs in bold."""
    columns = [
        [f"{s.acr:.4f}" for s in summaries],
        [f"{s.median_radius:.4f}" for s in summaries],
        *([f"{100 * s.certified_accuracy[i]:.1f}" for s in summaries] for i in range(len(_radii(summaries)))),
    ]
    marked = [_mark_best(column, bold) for column in columns]
    return [
        [
            s.log,
            str(s.images),
            f"{marked[0][i]}{spread}{(s.acr_interval[1] - s.acr):.4f}",
            *(column[i] for column in marked[1:]),
            "unknown" if s.abstention_rate is None else f"{100 * s.abstention_rate:.1f}",
        ]
        for i, s in enumerate(summaries)
    ]


def _mark_best(column: list[str], bold: Callable[[str], str]) -> list[str]:
    highest = max(map(float, column), default=0.0)
    if len(column) < 2 or highest == 0:
        return column
    return [bold(cell) if float(cell) == highest else cell for cell in column]


def _csv_columns(s: Summary) -> dict[str, Any]:
    """One log's figures by CSV column; every interval as _low and _high."""
    columns: dict[str, Any] = {"images": s.images, "acr": s.acr}
    columns |= _ends("acr", s.acr_interval)
    for radius, share, interval in zip(
        s.radii, s.certified_accuracy, s.certified_accuracy_intervals, strict=True
    ):
        name = f"certified_accuracy@{radius}"
        columns |= {name: share} | _ends(name, interval)
    columns |= {"median_radius": s.median_radius, "abstention_rate": s.abstention_rate}
    return columns | {f"p_correct@{level}": share for level, share in (s.p_correct or {}).items()}


def _ends(name: str, interval: Interval) -> dict[str, float]:
    return {f"{name}_low": interval[0], f"{name}_high": interval[1]}


def _class_tables(summaries: Sequence[Summary]) -> list[str]:
    """Certified accuracy by true class, in percent; nothing for logs with more than MOST_CLASSES."""
    parts = []
    for s in summaries:
        if 1 < len(s.by_class) <= MOST_CLASSES:
            rows = [
                [str(label), *(f"{100 * share:.1f}" for share in shares)]
                for label, shares in s.by_class.items()
            ]
            table = markdown_table(["class", *(f"r={radius}" for radius in s.radii)], rows)
            parts += [f"Certified accuracy by class, {s.log}:", table]
    return parts


def _p_correct_table(summaries: Sequence[Summary]) -> list[str]:
    measured = [(s.log, s.p_correct) for s in summaries if s.p_correct]
    if not measured:
        return []
    rows = [[log, *(f"{share:.4f}" for share in quantiles.values())] for log, quantiles in measured]
    table = markdown_table(["log", *measured[0][1]], rows)
    return ["Share of noisy copies classified right (p_A), quantiles over images:", table]


def _radii(summaries: Sequence[Summary]) -> tuple[str, ...]:
    return summaries[0].radii if summaries else ()


def _is_radius(text: str) -> bool:
    try:
        return 0 <= float(text) < math.inf
    except ValueError:
        return False
