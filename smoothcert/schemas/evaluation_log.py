"""The evaluation log: one image per line, tab-separated, with the evidence that proves its radius.

Two kinds are read. The field's has six columns, `idx label predict radius correct time`; ours adds
`n0 n alpha sigma bound p_lower p_upper counts seed`. Radii are l2 with pixels in [0,1]; times are seconds.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

from smoothcert.errors import InvalidRequest
from smoothcert.files import shown

T = TypeVar("T")

FIELD_COLUMNS = ("idx", "label", "predict", "radius", "correct", "time")
EVIDENCE_COLUMNS = ("n0", "n", "alpha", "sigma", "bound", "p_lower", "p_upper", "counts", "seed")
COLUMNS = FIELD_COLUMNS + EVIDENCE_COLUMNS
HEADER = "\t".join(COLUMNS) + "\n"
RADIUS_STEP = Decimal("1e-9")
PROBABILITY_STEP = Decimal("1e-12")
TIME = re.compile(
    r"(?:(?P<days>\d+) days?, *)?(?P<hours>\d+):(?P<minutes>\d{1,2}):(?P<seconds>\d{1,2}(?:\.\d*)?)"
)
BOOLEANS = {"1": True, "0": False, "true": True, "false": False, "1.0": True, "0.0": False}


@dataclass(frozen=True)
class Evidence:
    """The vote counts and parameters: enough to recompute the radius, and to redraw the votes."""

    n0: int
    n: int  # estimation votes drawn; 0: left out, as the chosen class is wrong
    alpha: float
    sigma: float
    bound: str
    p_lower: float
    p_upper: float
    counts: tuple[int, ...]  # counts_K of the estimation votes
    seed: str


@dataclass(frozen=True)
class Row:
    """One image. predict: negative for an abstention, whose radius is 0."""

    idx: int
    label: int
    predict: int
    radius: float
    correct: bool
    seconds: float
    evidence: Evidence | None = None

    @property
    def abstained(self) -> bool:
        return self.predict < 0

    @property
    def skipped(self) -> bool:
        """Whether the estimation votes were left out, as the chosen class is wrong: `--skip-wrong`.

        It counts 0 at every radius. Whether it would have been an abstention is unknown.
        """
        return self.evidence is not None and self.evidence.n == 0

    @property
    def right(self) -> bool:
        """Correct and not abstained: only then the radius counts."""
        return self.correct and not self.abstained


@dataclass(frozen=True)
class Log:
    """A log that was read. torn: the last line was incomplete and is dropped. of: images of the whole split,
    if known."""

    name: str
    rows: tuple[Row, ...]
    torn: bool = False
    of: int | None = None


def average_certified_radius(rows: Sequence[Row]) -> float:
    """ACR: mean of radius x correct, where an abstention is not correct."""
    return fmean(credited_radii(rows)) if rows else 0.0


def credited_radii(rows: Sequence[Row]) -> list[float]:
    """Each row's radius, 0 unless it is right."""
    return [row.radius if row.right else 0.0 for row in rows]


def certified_accuracy(rows: Sequence[Row], radius: float) -> float:
    """The share classified right, without abstention, with a radius larger than `radius`.

    Certified radii are positive even if a log prints 0.000, so at 0 every right answer counts.
    """
    return fmean(row.right and (row.radius > radius or radius == 0) for row in rows) if rows else 0.0


def abstention_rate(rows: Sequence[Row]) -> float | None:
    """The share of abstentions; None if images were skipped, each of which might have been one."""
    if any(row.skipped for row in rows):
        return None
    return fmean(row.abstained for row in rows) if rows else 0.0


def shares_classified_right(rows: Sequence[Row]) -> list[float]:
    """p_A of every row with evidence, sorted: the share of noisy copies classified as the label.

    Empty if images were skipped: those left are the easy ones.
    """
    if any(row.skipped for row in rows):
        return []
    return sorted(
        row.evidence.counts[row.label] / row.evidence.n
        for row in rows
        if row.evidence and row.evidence.n and 0 <= row.label < len(row.evidence.counts)
    )


def format_row(row: Row) -> str:
    """One line. Radius and p_lower are rounded down and p_upper up, so the line never claims more."""
    evidence = row.evidence
    assert evidence is not None, "only rows with evidence are written"
    values = (
        row.idx,
        row.label,
        row.predict,
        _rounded(row.radius, RADIUS_STEP, ROUND_FLOOR),
        int(row.correct),
        format_time(row.seconds),
        evidence.n0,
        evidence.n,
        repr(evidence.alpha),
        repr(evidence.sigma),
        evidence.bound,
        _rounded(evidence.p_lower, PROBABILITY_STEP, ROUND_FLOOR),
        _rounded(evidence.p_upper, PROBABILITY_STEP, ROUND_CEILING),
        ",".join(map(str, evidence.counts)),
        evidence.seed,
    )
    return "\t".join(map(str, values)) + "\n"


def format_time(seconds: float) -> str:
    """H:MM:SS.ffffff, the field's format with the fraction always present."""
    whole, fraction = divmod(round(seconds * 1e6), 1_000_000)
    minutes, second = divmod(whole, 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{second:02d}.{fraction:06d}"


def parse_time(text: str) -> float:
    """Seconds from `[D days, ]H:MM:SS[.ffffff]`, as Python prints a timedelta, or from plain seconds."""
    match = TIME.fullmatch(text)
    if match is None:
        return _non_negative(text)
    days, hours, minutes = (int(match[part] or 0) for part in ("days", "hours", "minutes"))
    return ((days * 24 + hours) * 60 + minutes) * 60 + float(match["seconds"])


def read_log(path: Path) -> Log:
    """A log of either kind, with or without header. Raises InvalidRequest naming the line and the problem."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidRequest(f"{path} can't be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{path} is not a log: it isn't text.") from error
    return parse_log(text, shown(path))


def parse_log(text: str, name: str) -> Log:
    """A log from its text; name: in errors and reports. Raises InvalidRequest, as read_log does.

    Without a header the number of columns tells whether it is ours (COLUMNS) or the field's (FIELD_COLUMNS).
    A last line of ours that a kill cut short is left out, and `torn` is set.
    """
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    columns = _header(lines[0][1]) if lines else None
    if columns is not None:
        _check_header(columns, name)
        lines = lines[1:]
    rows = [(number, split_line(line)) for number, line in lines]
    columns = columns or (COLUMNS if rows and len(rows[0][1]) == len(COLUMNS) else FIELD_COLUMNS)
    torn = bool(rows) and columns == COLUMNS and not text.endswith("\n") and len(rows[-1][1]) < len(columns)
    return Log(name, tuple(_parse_rows(rows[:-1] if torn else rows, columns, name)), torn)


def split_line(line: str) -> list[str]:
    """The fields of a line: split at tabs if that gives enough fields, else at white space."""
    fields = [field.strip() for field in line.strip("\r\n").split("\t")]
    return fields if len(fields) >= len(FIELD_COLUMNS) else line.split()


def _header(line: str) -> tuple[str, ...] | None:
    fields = tuple(field.lower() for field in split_line(line))
    return fields if "idx" in fields or "radius" in fields else None


def _check_header(columns: tuple[str, ...], name: str) -> None:
    missing = [column for column in FIELD_COLUMNS if column not in columns]
    if missing:
        raise InvalidRequest(f"{name}, line 1: the header has no column {', '.join(missing)}.")


def _parse_rows(lines: list[tuple[int, list[str]]], columns: tuple[str, ...], name: str) -> Iterator[Row]:
    for number, fields in lines:
        try:
            yield _parse_row(columns, fields)
        except ValueError as error:
            raise InvalidRequest(f"{name}, line {number}: {error}.") from error


def _parse_row(columns: tuple[str, ...], fields: list[str]) -> Row:
    if len(fields) != len(columns):
        raise ValueError(f"{len(fields)} columns where there should be {len(columns)} ({' '.join(columns)})")
    values = _parse_fields(dict(zip(columns, fields, strict=True)))
    plain = {column: values[column] for column in FIELD_COLUMNS if column != "time"}
    complete = all(column in values for column in EVIDENCE_COLUMNS)
    evidence = Evidence(**{column: values[column] for column in EVIDENCE_COLUMNS}) if complete else None
    return Row(**plain, seconds=values["time"], evidence=evidence)


def _parse_fields(fields: Mapping[str, str]) -> dict[str, Any]:
    """The known columns of a line; others are ignored. Raises ValueError naming the column."""
    values = {}
    for column, (parse, expected) in PARSERS.items():
        if column not in fields:
            continue
        try:
            values[column] = parse(fields[column])
        except (ValueError, KeyError):
            raise ValueError(f"{column} is {fields[column]!r}, not {expected}") from None
    return values


def _checked(value: T, holds: object) -> T:
    if not holds:
        raise ValueError(value)
    return value


def _non_negative_int(text: str) -> int:
    return _checked(value := int(text), value >= 0)


def _non_negative(text: str) -> float:
    return _checked(value := float(text), value >= 0 and math.isfinite(value))


def _probability(text: str) -> float:
    return _checked(value := _non_negative(text), value <= 1)


def _positive(text: str) -> float:
    return _checked(value := _non_negative(text), value > 0)


def _name(text: str) -> str:
    return _checked(text, text)


def _counts(text: str) -> tuple[int, ...]:
    return tuple(_non_negative_int(count) for count in text.split(","))


PARSERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "idx": (_non_negative_int, "a whole number from 0"),
    "label": (int, "a whole number"),
    "predict": (int, "a whole number (negative: abstained)"),
    "radius": (_non_negative, "a finite number from 0"),
    "correct": (lambda text: BOOLEANS[text.lower()], "0 or 1"),
    "time": (parse_time, "H:MM:SS or seconds"),
    "n0": (_non_negative_int, "a whole number from 0"),
    "n": (_non_negative_int, "a whole number from 0"),
    "alpha": (_probability, "a probability"),
    "sigma": (_positive, "a positive number"),
    "bound": (_name, "the name of a bound"),
    "p_lower": (_probability, "a probability"),
    "p_upper": (_probability, "a probability"),
    "counts": (_counts, "whole numbers with commas between"),
    "seed": (_name, "a seed"),
}


def _rounded(value: float, step: Decimal, rounding: str) -> str:
    return format(Decimal(value).quantize(step, rounding), "f")
