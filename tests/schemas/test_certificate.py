"""Whatever is no certificate is refused with one field and one reason, before anything is computed."""

import json
from typing import Any

import pytest

from service.openapi import CERTIFICATE
from smoothcert.cli.verify import unknown_fields
from smoothcert.errors import NotACertificate
from smoothcert.schemas.certificate import Certificate, validated
from smoothcert.schemas.json_text import MAX_BYTES, MAX_DEPTH, parse_document


def read(data: bytes) -> Certificate:
    return validated(parse_document(data), Certificate)


def text_with(**changes: Any) -> str:
    return json.dumps(CERTIFICATE | changes)


def nested(depth: int) -> str:
    return text_with()[:-1] + ', "later": ' + "[" * depth + "]" * depth + "}"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_certificate_is_read_in_every_encoding_of_unicode(encoding: str) -> None:
    assert read(text_with(label="ж").encode(encoding)).label == "ж"


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b"", "the file"),
        (b" \n", "the file"),
        (b"\xef\xbb\xbf", "the file"),
        (b"no json", "the file"),
        (b"\xff\xfe\x00", "the file"),
        (b'{"label": "\xff"}', "the file"),
        (b"\x89PNG\r\n", "the file"),
        (b" " * (MAX_BYTES + 1), "the file"),
        (b"[" * 1_000_000, "the document"),
        (nested(MAX_DEPTH + 1).encode(), "the document"),
        (b"[]", "the document"),
        (b"17", "the document"),
        (b"null", "the document"),
        (b'"text"', "the document"),
        (b"{}", "outcome"),
        (b"1e400", "the document"),
        (('{"radius": 99.0, ' + text_with()[1:]).encode(), "radius"),
        (text_with().replace('"sha256"', '"name": "a", "sha256"', 1).encode(), "model.name"),
        (text_with(seed="\ud800").encode(), "seed"),
        (text_with(**{"later": 10**16}).encode(), "later"),
        (text_with(**{"\x1b[2J\ud800": 1}).encode(), r"'\x1b[2J\ud800'"),
    ],
)
def test_what_is_no_certificate_is_refused(data: bytes, field: str) -> None:
    with pytest.raises(NotACertificate) as refused:
        read(data)
    assert refused.value.field == field
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("n", [True, "1000", 1000.0, 1e3, 10**400, None, [1000]]),
        ("radius", [True, "1.2", float("nan"), float("inf"), 10**400, -1, None]),
        ("version", [True, 1.0, 2, "1", None]),
        ("norm", ["linf", None]),
        ("issued_at", [1_700_000_000, "1700000000", "2026-11-22", "2026-11-22T12:06:37", None]),
        ("schedule", [{}, "", None]),
        ("model", [[], "lenet", None]),
        ("label", [3, True]),
    ],
)
def test_a_field_of_another_type_is_refused_not_converted(field: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(NotACertificate) as refused:
            read(text_with(**{field: value}).encode())
        assert refused.value.field == field, value


def test_each_count_is_a_whole_number() -> None:
    for value in (True, "1000", 1.0, None):
        with pytest.raises(NotACertificate) as refused:
            read(text_with(counts=[0, value]).encode())
        assert refused.value.field == "counts.1"


def test_fields_of_later_versions_are_ignored_and_listed() -> None:
    document = text_with(later={"linf": [0.5]}, **{"\x1b[2J": 1})
    for text, unknown in ((document, ["later", r"'\x1b[2J'"]), (nested(MAX_DEPTH), ["later"])):
        assert read(text.encode()).predicted_class == CERTIFICATE["predicted_class"]
        assert unknown_fields(parse_document(text.encode()), Certificate) == unknown
