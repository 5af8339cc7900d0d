"""The fields of a log line: text in, a checked value out. Errors say which column and what it should hold."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

TIME = re.compile(
    r"(?:(?P<days>\d+) days?, *)?(?P<hours>\d+):(?P<minutes>\d{1,2}):(?P<seconds>\d{1,2}(?:\.\d*)?)"
)
YES_OR_NO = {"1": True, "0": False, "true": True, "false": False, "1.0": True, "0.0": False}


def parse_fields(fields: Mapping[str, str]) -> dict[str, Any]:
    """The known columns of one line, parsed; others are left out. Raises ValueError naming the column."""
    values = {}
    for column, (parse, expected) in FIELDS.items():
        if column not in fields:
            continue
        try:
            values[column] = parse(fields[column])
        except (ValueError, KeyError):
            raise ValueError(f"{column} is {fields[column]!r}, not {expected}") from None
    return values


def parse_time(text: str) -> float:
    """Seconds from H:MM:SS with or without fraction (as Python prints a timedelta), or from plain seconds."""
    match = TIME.fullmatch(text)
    if match is None:
        return _non_negative(text)
    days, hours, minutes = (int(match[part] or 0) for part in ("days", "hours", "minutes"))
    return ((days * 24 + hours) * 60 + minutes) * 60 + float(match["seconds"])


def _whole(text: str) -> int:
    return int(text)


def _index(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError
    return value


def _non_negative(text: str) -> float:
    value = float(text)
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError
    return value


def _probability(text: str) -> float:
    value = _non_negative(text)
    if value > 1:
        raise ValueError
    return value


def _positive(text: str) -> float:
    value = _non_negative(text)
    if value == 0:
        raise ValueError
    return value


def _name(text: str) -> str:
    if not text:
        raise ValueError
    return text


def _counts(text: str) -> tuple[int, ...]:
    return tuple(_index(count) for count in text.split(","))


FIELDS: dict[str, tuple[Callable[[str], Any], str]] = {
    "idx": (_index, "a whole number from 0"),
    "label": (_whole, "a whole number"),
    "predict": (_whole, "a whole number (negative: abstained)"),
    "radius": (_non_negative, "a finite number from 0"),
    "correct": (lambda text: YES_OR_NO[text.lower()], "0 or 1"),
    "time": (parse_time, "H:MM:SS or seconds"),
    "n0": (_index, "a whole number from 0"),
    "n": (_index, "a whole number from 0"),
    "alpha": (_probability, "a probability"),
    "sigma": (_positive, "a positive number"),
    "bound": (_name, "the name of a bound"),
    "p_lower": (_probability, "a probability"),
    "p_upper": (_probability, "a probability"),
    "counts": (_counts, "whole numbers with commas between"),
    "seed": (_name, "a seed"),
}
