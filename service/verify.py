"""POST /verify: does a certificate or a statement hold?"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from service.auth import CallerOf
from service.bodies import FORM, File, read_form
from service.errors import Unprocessable
from service.openapi import problems
from service.state import Service, ServiceOf
from smoothcert.errors import BadCheckpoint, NotACertificate, UnknownModel
from smoothcert.images.decode import Frame, read_image
from smoothcert.schemas.card import Preprocessing
from smoothcert.schemas.certificate import Certificate, Shape
from smoothcert.schemas.job import FieldProblem
from smoothcert.schemas.json_text import MAX_BYTES, parse_document
from smoothcert.schemas.reading import is_statement, validated
from smoothcert.schemas.statement import Statement
from smoothcert.stats.statement import verify_statement
from smoothcert.stats.verify import Check, verify

DOCUMENT = "certificate"
router = APIRouter(tags=["certificates"])


class Refusal(BaseModel):
    """The first field that is wrong."""

    field: str
    reason: str


class Verdict(BaseModel):
    """Whether a document holds. Not checked: that the votes were cast (a replay), and the signature."""

    holds: bool
    checked: list[str] = Field(description="fields that follow from the counts, or match the image")
    refused: Refusal | None = None


class Documents(BaseModel, arbitrary_types_allowed=True):
    """The parts of the form. document: the certificate's bytes. image: None if none was sent."""

    document: bytes
    image: File | None


async def _parts(request: Request) -> AsyncIterator[Documents]:
    with await read_form(request, document=DOCUMENT) as body:
        allowed = (DOCUMENT, "image")
        names = [name for name, _ in body.fields] + body.misplaced
        wrong = [FieldProblem(field=name, detail=f"There are: {', '.join(allowed)}.") for name in names]
        if len(body.documents) != 1:
            wrong.append(FieldProblem(field=DOCUMENT, detail="Send one certificate."))
        if len(body.images) > 1:
            wrong.append(FieldProblem(field="image", detail="Send one image, or none."))
        if wrong:
            raise Unprocessable.of(wrong)
        yield Documents(
            document=body.documents[0].read(MAX_BYTES + 1), image=body.images[0] if body.images else None
        )


FILE = {"type": "string", "format": "binary"}
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "properties": {DOCUMENT: FILE, "image": FILE},
                    "required": [DOCUMENT],
                }
            }
        },
    }
}


@router.post(
    "/verify",
    summary="Check a certificate",
    responses=problems(400, 401, 403, 413, 415, 422, 503),
    openapi_extra=BODY,
)
def verify_document(
    parts: Annotated[Documents, Depends(_parts)], service: ServiceOf, caller: CallerOf
) -> Verdict:
    """Recomputes every figure from the counts. With an image, compares its pixels too.

    `certificate` is a certificate or a statement, as a file or as text. A document that does not hold is no
    error: `refused` names the first wrong field.
    """
    checked: list[str] = []
    try:
        for check in _checks(parts, service):
            if not check.holds:
                return _refused(checked, check.field, check.reason)
            checked.append(check.field)
    except NotACertificate as error:
        return _refused(checked, error.field, error.reason)
    return Verdict(holds=True, checked=list(dict.fromkeys(checked)))


def _refused(checked: list[str], field: str, reason: str) -> Verdict:
    refusal = Refusal(field=field, reason=reason)
    return Verdict(holds=False, checked=list(dict.fromkeys(checked)), refused=refusal)


def _checks(parts: Documents, service: Service) -> Iterator[Check]:
    """Raises NotACertificate, BadImage."""
    document = parse_document(parts.document)
    if is_statement(document):
        yield from verify_statement(validated(document, Statement)).checks
        return
    certificate = validated(document, Certificate)
    yield from verify(certificate).checks
    if parts.image is not None:
        data = parts.image.read()
        image = service.decoders.submit(read_image, data, _frame(certificate, service)).result()
        made, claimed = image.digest, certificate.input
        same = (made.shape, made.sha256) == (claimed.shape, claimed.sha256)
        yield Check("input", same, "the pixels of this image are others")


@dataclass(frozen=True)
class _ByShape:
    """How to decode an image whose model is not served here."""

    input_shape: Shape
    preprocessing: Preprocessing


def _frame(certificate: Certificate, service: Service) -> Frame:
    """How the model's card decodes images if it is served here; else by the shape in the certificate."""
    shape = certificate.input.shape
    by_shape = _ByShape(shape, Preprocessing(mode="L" if shape[0] == 1 else "RGB", mean=(), std=()))
    try:
        card = service.models.card(certificate.model.name)
    except (UnknownModel, BadCheckpoint):
        return by_shape
    return card if card.weights_sha256 == certificate.model.sha256 else by_shape
