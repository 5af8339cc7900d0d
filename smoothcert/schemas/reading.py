"""From bytes that anybody may have written to a certificate: parsed once, strictly, before it is believed.

The text is I-JSON (RFC 7493), as signatures need it: no name twice in an object, whole numbers up to 2**53,
finite numbers, whole characters. UTF-8, or UTF-16 or 32 as some editors write it, with or without a byte
order mark. A value of another type than the field's is refused, never converted. Fields that this version
doesn't know are left alone: later versions add some.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from smoothcert.errors import NotACertificate
from smoothcert.schemas.certificate import Certificate

MOST_BYTES = 20_000_000  # counts of 100 000 classes, written one a line, are 4 MB
MOST_DEPTH = 20  # a certificate's own is 3
MOST_EXACT = 2**53  # from here on whole numbers are not exact in every JSON reader
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")  # RFC 3339

Document = dict[str, Any]
Wrong = tuple[str, str]  # the field and why it is refused


@dataclass(frozen=True)
class Received:
    """A certificate, and the JSON values it was read from: its signature is over these."""

    certificate: Certificate
    document: Document

    @property
    def unknown(self) -> list[str]:
        """Names of fields that this version doesn't know, fit to be shown."""
        return [_shown(name) for name in self.document if name not in Certificate.model_fields]


@dataclass(frozen=True)
class _Refused:
    """Stands where a value stood that no certificate may hold. name: the member's, where it is one."""

    reason: str
    name: str = ""


def read_document(data: bytes) -> Received:
    """A certificate's document. Raises NotACertificate, naming the field."""
    document = _parse(_decode(data))
    for field, reason in _what_is_wrong(document, "", 0):
        raise NotACertificate(field or "the document", reason)
    if not isinstance(document, dict):
        raise NotACertificate("the document", "is not a JSON object")
    if type(document.get("version", 1)) is not int:
        raise NotACertificate("version", "must be a whole number")
    try:
        certificate = Certificate.model_validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        raise NotACertificate(".".join(map(str, first["loc"])), first["msg"]) from error
    if not _TIMESTAMP.fullmatch(document["issued_at"]):
        raise NotACertificate("issued_at", "must be a date, a time and its offset, as RFC 3339 writes them")
    return Received(certificate, document)


def _decode(data: bytes) -> str:
    if len(data) > MOST_BYTES:
        raise NotACertificate("the file", f"is larger than {MOST_BYTES} bytes")
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


def _object(members: list[tuple[str, Any]]) -> Document | _Refused:
    document = dict(members)
    if len(document) == len(members):
        return document
    names = [name for name, _ in members]
    return _Refused("stands twice", next(name for name in names if names.count(name) > 1))


def _whole(text: str) -> int | _Refused:
    if len(text) > len(str(-MOST_EXACT)) or abs(int(text)) > MOST_EXACT:
        return _Refused("a whole number must lie between -2**53 and 2**53")
    return int(text)


def _finite(text: str) -> float | _Refused:
    value = float(text)
    return value if abs(value) < float("inf") else _not_finite(text)


def _not_finite(_: str) -> _Refused:
    return _Refused("must be a finite number")


def _what_is_wrong(value: Any, path: str, depth: int) -> Iterator[Wrong]:
    """Every value that no certificate may hold, in the order of the document."""
    if depth > MOST_DEPTH:
        raise _too_deep()
    if isinstance(value, _Refused):
        yield _below(path, value.name) if value.name else path, value.reason
    elif isinstance(value, str) and not _is_text(value):
        yield path, "holds half a character (a lone surrogate)"
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _what_is_wrong(item, f"{path}.{index}", depth + 1)
    elif isinstance(value, dict):
        for name, item in value.items():
            if not _is_text(name):
                yield _below(path, name), "its name holds half a character (a lone surrogate)"
            yield from _what_is_wrong(item, _below(path, name), depth + 1)


def _below(path: str, name: str) -> str:
    return f"{path}.{_shown(name)}".removeprefix(".")


def _shown(name: str) -> str:
    """A stranger's name for a field, without what would move a terminal's cursor, and not too long."""
    plain = name.isascii() and name.isidentifier() and len(name) <= 40
    return name if plain else ascii(name[:40])


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _too_deep() -> NotACertificate:
    return NotACertificate("the document", f"is nested deeper than {MOST_DEPTH} levels")
