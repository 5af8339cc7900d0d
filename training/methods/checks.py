"""What a method's options must satisfy, and how published defaults are looked up."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from smoothcert.errors import InvalidRequest
from training.sources import find_source

T = TypeVar("T")


def need_positive(**options: float) -> None:
    """Raises InvalidRequest naming the first option that is not a number above 0."""
    for name, value in options.items():
        if not 0 < value < float("inf"):
            raise InvalidRequest(f"{name} must be a number above 0, not {value}.")


def need_at_least(least: float, why: str = "", **options: float) -> None:
    """Raises InvalidRequest naming the first option below `least`; `why` is appended in brackets."""
    for name, value in options.items():
        if not least <= value < float("inf"):
            reason = f" ({why})" if why else ""
            raise InvalidRequest(f"{name} must be at least {least}, not {value}{reason}.")


def need_one_of(allowed: Iterable[str], **options: str) -> None:
    """Raises InvalidRequest naming the first option whose value is not among those allowed."""
    for name, value in options.items():
        if value not in allowed:
            raise InvalidRequest(f"{name} must be one of {', '.join(allowed)}, not {value!r}.")


def by_sigma(table: Mapping[float, T], sigma: float) -> T:
    """The entry of the published noise level nearest to `sigma`."""
    return table[min(table, key=lambda published: abs(published - sigma))]


def family(dataset: str) -> str:
    """Whose published defaults a data set takes: those its source names, else ImageNet's."""
    source = find_source(dataset)
    return source.family if source else "imagenet"
