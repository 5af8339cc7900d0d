"""POST /verify: does a certificate or a statement hold? GET /keys/signing: the keys of its signature."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Annotated, Self

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from service.auth import CallerOf
from service.bodies import FORM, File, read_form
from service.errors import Unprocessable
from service.openapi import problems
from service.state import Service, ServiceOf
from smoothcert.errors import BadCheckpoint, NotACertificate, UnknownModel
from smoothcert.images.decode import read_image
from smoothcert.schemas.card import ModelCard, Preprocessing
from smoothcert.schemas.certificate import Certificate, PublicKeys, Shape, Signature, validated
from smoothcert.schemas.job import FieldProblem
from smoothcert.schemas.json_text import MAX_BYTES, Document, parse_document
from smoothcert.schemas.statement import Statement, is_statement
from smoothcert.signing import signature_problem
from smoothcert.stats.compare import check_input, check_named, check_statement
from smoothcert.stats.recompute import any_wrong
from smoothcert.stats.statement_checks import verify_statement
from smoothcert.stats.verify import Check, verify

DOCUMENT = "certificate"
router = APIRouter(tags=["certificates"])


class Refusal(BaseModel):
    """The first field that is wrong."""

    field: str
    reason: str


class Verdict(BaseModel):
    """Whether a document holds. Not checked here, only by a replay: that the votes were really cast."""

    holds: bool
    checked: list[str] = Field(
        description="fields that follow from the counts, or match the model or the image; `signature` if it "
        "is valid"
    )
    refused: Refusal | None = None
    signed_by: str | None = Field(
        default=None, description="the key of this service whose signature was checked and is valid"
    )
    signature_unchecked: str | None = Field(
        default=None,
        description="why no signature was checked; null if one was, or if the document is refused",
    )
    error_probability: float | None = Field(
        default=None,
        description="upper bound on the probability that this or an earlier answer about the same pixels, "
        "model and sigma is wrong: (asked_before + 1) * alpha; null if asked_before is null, or if the "
        "document is refused",
    )


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
    """Recomputes every figure from the counts. Compares sigma, label, classes and shape if the model is here
    (of a statement: sigma, classes and slack), and the pixels of an image.

    `certificate` is a certificate or a statement, as a file or as text. A document that does not hold is no
    error: `refused` names the first wrong field. A signature is checked if this service has its public key
    (`/keys/signing`); a document that is unsigned, or signed by another key, may hold all the same.
    """
    checked: list[str] = []
    try:
        received = _read(parts.document)
        if parts.image and isinstance(received.claimed, Statement):
            detail = "A statement is about no single image: leave this out."
            raise Unprocessable.of([FieldProblem(field="image", detail=detail)])
        unchecked = _unchecked(received.signature, service)
        for check in _checks(received, parts.image, service, signed=unchecked is None):
            if not check.holds:
                return _refused(checked, check.field, check.reason)
            checked.append(check.field)
    except NotACertificate as error:
        return _refused(checked, error.field, error.reason)
    return Verdict(
        holds=True,
        checked=list(dict.fromkeys(checked)),
        signed_by=received.signature.key_id if received.signature and unchecked is None else None,
        signature_unchecked=unchecked,
        error_probability=_error_probability(received.claimed),
    )


def _refused(checked: list[str], field: str, reason: str) -> Verdict:
    refusal = Refusal(field=field, reason=reason)
    return Verdict(holds=False, checked=list(dict.fromkeys(checked)), refused=refusal)


@dataclass(frozen=True)
class _Received:
    """A document as it was received, which the signature is over, and what it says."""

    document: Document
    claimed: Certificate | Statement

    @property
    def signature(self) -> Signature | None:
        return self.claimed.signature


def _read(data: bytes) -> _Received:
    """Raises NotACertificate."""
    document = parse_document(data)
    if is_statement(document):
        return _Received(document, validated(document, Statement))
    return _Received(document, validated(document, Certificate))


def _checks(received: _Received, image: File | None, service: Service, *, signed: bool) -> Iterator[Check]:
    """Raises BadImage."""
    claimed = received.claimed
    card = _served(claimed, service)
    if isinstance(claimed, Statement):
        yield from verify_statement(claimed).checks
        yield from check_statement(claimed, card) if card else ()
    else:
        yield from verify(claimed).checks
        yield from check_named(claimed, card) if card else ()
        if image is not None:
            frame = card or _ByShape.of(claimed)
            here = service.decoders.submit(read_image, image.read(), frame).result()
            yield check_input(claimed, here.digest, "this image")
    if signed:
        wrong = signature_problem(received.document, public_keys(service))
        yield Check("signature", wrong is None, wrong or "")


def _unchecked(signature: Signature | None, service: Service) -> str | None:
    """Why no signature can be checked; None if one can."""
    keys = public_keys(service).keys
    if signature is None:
        return "the document has no signature"
    if not keys:
        return "this service has no public keys"
    if signature.key_id not in {key.kid for key in keys}:
        return f"key {signature.key_id} is none of this service's"
    return None


def _error_probability(claimed: Certificate | Statement) -> float | None:
    if isinstance(claimed, Statement) or claimed.asked_before is None:
        return None
    return float(any_wrong(claimed.alpha, claimed.asked_before + 1))


@dataclass(frozen=True)
class _ByShape:
    """How to decode an image whose model is not served here."""

    input_shape: Shape
    preprocessing: Preprocessing

    @classmethod
    def of(cls, certificate: Certificate) -> Self:
        shape = certificate.input.shape
        return cls(shape, Preprocessing(mode="L" if shape[0] == 1 else "RGB", mean=(), std=()))


def _served(document: Certificate | Statement, service: Service) -> ModelCard | None:
    """The card of the model that it names, if one with its weights is served here."""
    try:
        card = service.models.card(document.model.name)
    except (UnknownModel, BadCheckpoint):
        return None
    return card if card.weights_sha256 == document.model.sha256 else None


keys = APIRouter(prefix="/keys", tags=["keys"])


@keys.get("/signing", summary="Keys to check signatures with", responses=problems(503))
def read_signing_keys(service: ServiceOf) -> PublicKeys:
    """A JSON web key set, the newest key first; empty where certificates are not signed."""
    return public_keys(service)


def public_keys(service: Service) -> PublicKeys:
    """The keys of the configured file; none without one. Raises BadKeyFile."""
    path = service.settings.signing_keys
    return PublicKeys.read(path) if path else PublicKeys()
