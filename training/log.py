"""The evaluation log: one image a line, tab-separated, with the evidence that proves its radius.

Two kinds are read. The field's own has six columns, `idx label predict radius correct time`; ours adds
`n0 n alpha sigma bound p_lower p_upper counts seed`. Radii are l2, pixels in [0,1]; times are seconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from pathlib import Path
from typing import Any

from smoothcert.errors import InvalidRequest
from smoothcert.files import shown
from training.logfields import parse_fields

FIELD_COLUMNS = ("idx", "label", "predict", "radius", "correct", "time")
EVIDENCE_COLUMNS = ("n0", "n", "alpha", "sigma", "bound", "p_lower", "p_upper", "counts", "seed")
COLUMNS = FIELD_COLUMNS + EVIDENCE_COLUMNS
RADIUS_STEP = Decimal("1e-9")
PROBABILITY_STEP = Decimal("1e-12")


@dataclass(frozen=True)
class Evidence:
    """What the votes said: enough to recompute the radius, and to redraw the votes with the same engine."""

    n0: int
    n: int  # estimation votes really drawn
    alpha: float
    sigma: float
    bound: str
    p_lower: float
    p_upper: float
    counts: tuple[int, ...]  # counts_K of the estimation votes
    seed: str


@dataclass(frozen=True)
class Row:
    """One image. `predict` is negative when the smoothed classifier abstained; its radius is then 0."""

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
    def right(self) -> bool:
        """Classified right and not abstained: the only rows whose radius counts."""
        return self.correct and not self.abstained


@dataclass(frozen=True)
class Log:
    """A log as it was read.

    torn: the last line was cut short by a kill and is no row. of: images of the whole split, if known.
    """

    name: str
    rows: tuple[Row, ...]
    torn: bool = False
    of: int | None = None


def format_row(row: Row) -> str:
    """One line with its newline. Radius and p_lower are rounded down, p_upper up: no larger claim."""
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
    """H:MM:SS.ffffff, as the field writes it but never without the fraction."""
    whole, fraction = divmod(round(seconds * 1e6), 1_000_000)
    minutes, second = divmod(whole, 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{second:02d}.{fraction:06d}"


def read_log(path: Path) -> Log:
    """A log of either kind, with or without header.

    Raises InvalidRequest naming the line and what is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidRequest(f"{path} can't be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{path} is not a log: it isn't text.") from error
    return parse_log(text, shown(path))


def parse_log(text: str, name: str) -> Log:
    """See read_log. `name` is what errors and reports call the log."""
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    columns = _header(lines[0][1]) if lines else None
    if columns is not None:
        _check_header(columns, name)
        lines = lines[1:]
    whole = [(number, split_line(line)) for number, line in lines]
    columns = columns or (COLUMNS if whole and len(whole[0][1]) == len(COLUMNS) else FIELD_COLUMNS)
    torn = bool(whole) and columns == COLUMNS and not text.endswith("\n") and len(whole[-1][1]) < len(columns)
    return Log(name, tuple(_rows(whole[:-1] if torn else whole, columns, name)), torn)


def split_line(line: str) -> list[str]:
    """The fields of one line: by tabs where there are enough of them, else by any white space."""
    fields = [field.strip() for field in line.strip("\r\n").split("\t")]
    return fields if len(fields) >= len(FIELD_COLUMNS) else line.split()


def _rows(lines: list[tuple[int, list[str]]], columns: tuple[str, ...], name: str) -> Iterator[Row]:
    for number, fields in lines:
        try:
            yield _row(columns, fields)
        except ValueError as error:
            raise InvalidRequest(f"{name}, line {number}: {error}.") from error


def _row(columns: tuple[str, ...], fields: list[str]) -> Row:
    if len(fields) != len(columns):
        raise ValueError(f"{len(fields)} columns where there should be {len(columns)} ({' '.join(columns)})")
    values = parse_fields(dict(zip(columns, fields, strict=True)))
    own = {column: values[column] for column in FIELD_COLUMNS if column != "time"}
    return Row(**own, seconds=values["time"], evidence=_evidence(values))


def _evidence(values: dict[str, Any]) -> Evidence | None:
    if any(column not in values for column in EVIDENCE_COLUMNS):
        return None
    return Evidence(**{column: values[column] for column in EVIDENCE_COLUMNS})


def _header(line: str) -> tuple[str, ...] | None:
    fields = tuple(field.lower() for field in split_line(line))
    return fields if "idx" in fields or "radius" in fields else None


def _check_header(columns: tuple[str, ...], name: str) -> None:
    missing = [column for column in FIELD_COLUMNS if column not in columns]
    if missing:
        raise InvalidRequest(f"{name}, line 1: the header has no column {', '.join(missing)}.")


def _rounded(value: float, step: Decimal, rounding: str) -> str:
    return format(Decimal(value).quantize(step, rounding), "f")
