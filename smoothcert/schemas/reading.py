"""Parses untrusted bytes to a certificate or a statement, strictly.

The text must be I-JSON. Values of the wrong type are rejected, never converted. Unknown fields are kept, as
later versions may add some.
"""

import json
import re
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from smoothcert.errors import NotACertificate
from smoothcert.schemas.certificate import Certificate
from smoothcert.schemas.json_text import Document, parse_document, printable
from smoothcert.schemas.statement import Statement

_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")  # RFC 3339


Model = TypeVar("Model", Certificate, Statement)


@dataclass(frozen=True)
class Received:
    """A certificate and the JSON document it was read from, which the signature is over."""

    certificate: Certificate
    document: Document

    @property
    def unknown(self) -> list[str]:
        """Names of unknown fields, safe to print."""
        return unknown_fields(self.document, Certificate)


def unknown_fields(document: Document, model: type[BaseModel]) -> list[str]:
    """Names of fields that the model does not have, safe to print."""
    return [printable(name) for name in document if name not in model.model_fields]


def read_document(data: bytes) -> Received:
    """Parse a certificate. Raises NotACertificate, naming the field."""
    document = parse_document(data)
    return Received(validated(document, Certificate), document)


def is_statement(document: Document) -> bool:
    """Whether a document says that it is a statement."""
    return document.get("kind") == "statement"


def validated(document: Document, model: type[Model]) -> Model:
    """A document as a certificate or statement. Raises NotACertificate, naming the field."""
    try:
        checked = model.model_validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        raise NotACertificate(".".join(map(str, first["loc"])), first["msg"]) from error
    if not _TIMESTAMP.fullmatch(document["issued_at"]):
        raise NotACertificate("issued_at", "must be a date, a time and its offset, as RFC 3339 writes them")
    return checked
