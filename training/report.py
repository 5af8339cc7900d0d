"""A report over logs, as Markdown, CSV, LaTeX or JSON."""

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from smoothcert.errors import InvalidRequest
from training.journal import read_run
from training.log import Log, read_log
from training.summary import Interval, Summary, summarize

LATEX = {c: f"\\{c}" for c in "_%&#${}"} | {"\\": r"\textbackslash{}", "~": r"\~{}", "^": r"\^{}"}
SPREAD = "±: 95 % interval over images; of a mean over seeds, over seeds."
DEFAULT_RADII = "0,0.25,0.5,0.75,1,1.25,1.5,1.75,2,2.25,2.5"


@dataclass(frozen=True)
class Report:
    """Logs with the figures of each, in the order given."""

    logs: tuple[Log, ...]
    summaries: tuple[Summary, ...]


def make_report(paths: Sequence[Path], radii: Sequence[str]) -> Report:
    """Read the logs and compare them with each other. Raises InvalidRequest for a malformed one."""
    logs = tuple(map(_read, paths))
    summaries = [summarize(log, radii, [other for other in logs if other is not log]) for log in logs]
    return Report(logs, tuple(summaries))


def with_mean(report: Report) -> Report:
    """The report with one more line: the mean over its logs, seeds of one recipe. Raises InvalidRequest."""
    from training.seeds import over_seeds  # noqa: PLC0415  (scipy, which a plain report does without)

    return replace(report, summaries=(*report.summaries, over_seeds(report.summaries)))


def parse_radii(text: str) -> tuple[str, ...]:
    """`0,0.25,...` as the reader wrote them: they name the columns. Raises InvalidRequest."""
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
    """A list with one object a log; shares in [0,1], keys of certified_accuracy as the radii were written."""
    return json.dumps([_record(summary) for summary in summaries], indent=2) + "\n"


def to_csv(summaries: Sequence[Summary]) -> str:
    """One line a log; shares in [0,1]; warnings in the last column, with semicolons between."""
    text = io.StringIO()
    columns = list(dict.fromkeys(name for s in summaries for name in _columns(s)))
    writer = csv.DictWriter(text, ["log", *columns, "warnings"], lineterminator="\n")
    writer.writeheader()
    for s in summaries:
        writer.writerow({"log": s.log, **_columns(s), "warnings": "; ".join(s.warnings)})
    return text.getvalue()


def to_markdown(summaries: Sequence[Summary]) -> str:
    """A table in percent, of several logs the best of each column bold, and what to beware of."""
    cells = _cells(summaries, best=lambda cell: f"**{cell}**", spread=" ± ")
    header = _header(summaries)
    lines = ["| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
    lines += [
        "| " + " | ".join([s.log.replace("|", "\\|"), *row]) + " |"
        for s, row in zip(summaries, cells, strict=True)
    ]
    lines += ["", SPREAD] if any(s.images for s in summaries) else []
    lines += _p_correct_table(summaries)
    beware = [f"- {s.log}: {warning}" for s in summaries for warning in s.warnings]
    return "\n".join([*lines, *(["", "Beware:", *beware] if beware else [])]) + "\n"


def to_latex(summaries: Sequence[Summary]) -> str:
    """A booktabs table in percent, the best of each column bold where there are several logs."""
    cells = _cells(summaries, best=lambda cell: f"\\textbf{{{cell}}}", spread=" $\\pm$ ")
    header = _header(summaries)
    lines = [f"% {s.log}: {warning}" for s in summaries for warning in s.warnings]
    lines += [f"\\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}", "\\toprule"]
    lines += [" & ".join(map(_escaped, header)) + " \\\\", "\\midrule"]
    lines += [" & ".join([_escaped(s.log), *row]) + " \\\\" for s, row in zip(summaries, cells, strict=True)]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"


FORMATS: dict[str, Callable[[Sequence[Summary]], str]] = {
    "markdown": to_markdown,
    "csv": to_csv,
    "latex": to_latex,
    "json": to_json,
}


def _read(path: Path) -> Log:
    run = read_run(path)
    return replace(read_log(path), of=run.split_images if run else None)


def _record(s: Summary) -> dict[str, Any]:
    intervals = zip(s.radii, s.certified_accuracy_intervals, strict=True)
    return {
        "log": s.log,
        "images": s.images,
        "acr": s.acr,
        "acr_interval": list(s.acr_interval),
        "certified_accuracy": dict(zip(s.radii, s.certified_accuracy, strict=True)),
        "certified_accuracy_interval": {radius: list(interval) for radius, interval in intervals},
        "abstention_rate": s.abstention_rate,
        "p_correct": s.p_correct,
        "seconds_per_image": s.seconds_per_image,
        "warnings": list(s.warnings),
    }


def _header(summaries: Sequence[Summary]) -> list[str]:
    radii = summaries[0].radii if summaries else ()
    return ["log", "images", "ACR", *(f"r={radius}" for radius in radii), "abstained"]


def _cells(summaries: Sequence[Summary], best: Callable[[str], str], spread: str) -> list[list[str]]:
    """images, ACR, accuracies and abstentions in percent; the best of several is marked."""
    columns = [
        [f"{s.acr:.4f}" for s in summaries],
        *([f"{100 * s.certified_accuracy[i]:.1f}" for s in summaries] for i in range(_width(summaries))),
    ]
    marked = [_marked(column, best) for column in columns]
    return [
        [
            str(s.images),
            f"{marked[0][i]}{spread}{(s.acr_interval[1] - s.acr):.4f}",
            *(column[i] for column in marked[1:]),
            f"{100 * s.abstention_rate:.1f}",
        ]
        for i, s in enumerate(summaries)
    ]


def _marked(column: list[str], best: Callable[[str], str]) -> list[str]:
    highest = max(map(float, column), default=0.0)
    if len(column) < 2 or highest == 0:
        return column
    return [best(cell) if float(cell) == highest else cell for cell in column]


def _columns(s: Summary) -> dict[str, Any]:
    """The figures of one log by the names of their CSV columns; every interval as _low and _high."""
    columns: dict[str, Any] = {"images": s.images, "acr": s.acr}
    columns |= _ends("acr", s.acr_interval)
    for radius, share, interval in zip(
        s.radii, s.certified_accuracy, s.certified_accuracy_intervals, strict=True
    ):
        name = f"certified_accuracy@{radius}"
        columns |= {name: share} | _ends(name, interval)
    columns["abstention_rate"] = s.abstention_rate
    return columns | {f"p_correct@{level}": share for level, share in (s.p_correct or {}).items()}


def _ends(name: str, interval: Interval) -> dict[str, float]:
    return {f"{name}_low": interval[0], f"{name}_high": interval[1]}


def _p_correct_table(summaries: Sequence[Summary]) -> list[str]:
    measured = [(s.log, s.p_correct) for s in summaries if s.p_correct]
    if not measured:
        return []
    levels = list(measured[0][1])
    lines = ["", "Share of noisy copies classified right (p_A), quantiles over images:", ""]
    lines += ["| log | " + " | ".join(levels) + " |", "|---" + "|---:" * len(levels) + "|"]
    return lines + [
        f"| {log} | " + " | ".join(f"{p:.4f}" for p in ps.values()) + " |" for log, ps in measured
    ]


def _width(summaries: Sequence[Summary]) -> int:
    return len(summaries[0].radii) if summaries else 0


def _escaped(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text)


def _is_radius(text: str) -> bool:
    try:
        return 0 <= float(text) < math.inf
    except ValueError:
        return False
