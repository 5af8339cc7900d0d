"""Parses untrusted bytes as I-JSON (RFC 7493), as signatures need it. Standard library only.

No duplicate names, integers up to 2**53, finite numbers, no lone surrogates. UTF-8, UTF-16 or UTF-32, with or
without a byte order mark.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

from smoothcert.errors import NotACertificate

MAX_BYTES = 20_000_000  # counts of 100 000 classes, one a line, take 4 MB
MAX_DEPTH = 20  # a certificate has 3 levels
MAX_EXACT = 2**53  # larger integers are not exact in every JSON reader

TIMESTAMP = re.compile(  # RFC 3339
    r"\d{4}-\d\d-\d\d[Tt]([01]\d|2[0-3])(:[0-5]\d){2}(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)", re.ASCII
)

Document = dict[str, Any]
Invalid = tuple[str, str]  # field, reason


@dataclass(frozen=True)
class _InvalidValue:
    """Placeholder for a value that no document may hold. name: of the object member, if it is one."""

    reason: str
    name: str = ""


def parse_document(data: bytes) -> Document:
    """The JSON object of these bytes. Raises NotACertificate, naming the field."""
    document = _parse(_decode(data))
    for field, reason in _invalid_values(document, "", 0):
        raise NotACertificate(field or "the document", reason)
    if isinstance(document, list):
        raise NotACertificate(
            "the document", "is a list, as of several images: put each certificate in a file"
        )
    if not isinstance(document, dict):
        raise NotACertificate("the document", "is not a JSON object")
    if type(document.get("version", 1)) is not int:
        raise NotACertificate("version", "must be a whole number")
    return document


def is_timestamp(text: str) -> bool:
    """Whether this is a date that exists, a time and its offset, as RFC 3339 writes them."""
    try:
        return bool(TIMESTAMP.fullmatch(text) and date.fromisoformat(text[:10]))
    except ValueError:
        return False


def printable(name: str) -> str:
    """An untrusted field name as short printable ASCII."""
    plain = name.isascii() and name.isidentifier() and len(name) <= 40
    return name if plain else ascii(name[:40])


def _decode(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise NotACertificate("the file", f"is larger than {MAX_BYTES} bytes")
    if not data.strip():
        raise NotACertificate("the file", "is empty")
    try:
        return data.decode(json.detect_encoding(data))
    except UnicodeDecodeError as error:
        raise NotACertificate("the file", f"byte {error.start} is no {error.encoding} text") from error


def _parse(text: str) -> Any:
    try:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_whole,
            parse_float=_finite,
            parse_constant=_not_finite,
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise NotACertificate("the file", f"is no JSON: {where}: {error.msg}") from error
    except RecursionError as error:
        raise _too_deep() from error


def _object(members: list[tuple[str, Any]]) -> Document | _InvalidValue:
    document = dict(members)
    if len(document) == len(members):
        return document
    names = [name for name, _ in members]
    return _InvalidValue("stands twice", next(name for name in names if names.count(name) > 1))


def _whole(text: str) -> int | _InvalidValue:
    if len(text) > len(str(-MAX_EXACT)) or abs(int(text)) > MAX_EXACT:
        return _InvalidValue("a whole number must lie between -2**53 and 2**53")
    return int(text)


def _finite(text: str) -> float | _InvalidValue:
    value = float(text)
    return value if abs(value) < float("inf") else _not_finite(text)


def _not_finite(_: str) -> _InvalidValue:
    return _InvalidValue("must be a finite number")


def _invalid_values(value: Any, path: str, depth: int) -> Iterator[Invalid]:
    """All values that no document may hold, in document order."""
    if depth > MAX_DEPTH:
        raise _too_deep()
    if isinstance(value, _InvalidValue):
        yield _below(path, value.name) if value.name else path, value.reason
    elif isinstance(value, str) and not _is_text(value):
        yield path, "holds half a character (a lone surrogate)"
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _invalid_values(item, f"{path}.{index}", depth + 1)
    elif isinstance(value, dict):
        for name, item in value.items():
            if not _is_text(name):
                yield _below(path, name), "its name holds half a character (a lone surrogate)"
            yield from _invalid_values(item, _below(path, name), depth + 1)


def _below(path: str, name: str) -> str:
    return f"{path}.{printable(name)}".removeprefix(".")


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _too_deep() -> NotACertificate:
    return NotACertificate("the document", f"is nested deeper than {MAX_DEPTH} levels")
