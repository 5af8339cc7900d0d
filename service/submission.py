"""From a request to a queued job: the form of POST /certify and POST /batches and its schema; then decode,
check against the model's card, write the record, send its id.

Unknown fields and query parameters are refused, and so are those that are sent twice.
"""

import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from typing import Annotated, Any

import structlog
from fastapi import Depends, Query, Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.auth import Caller
from service.bodies import FORM, Body, File, is_form, is_picture, read_form, read_picture
from service.errors import BadForm, Unprocessable
from service.state import Service, ServiceOf
from smoothcert.errors import BrokerUnavailable
from smoothcert.images.decode import read_image
from smoothcert.images.pixels import CertifiedImage
from smoothcert.jobs.store import Lane
from smoothcert.jobs.store import Request as JobRequest
from smoothcert.jobs.tasks import Message
from smoothcert.schemas.card import ModelCard
from smoothcert.schemas.job import FieldProblem, Job
from smoothcert.schemas.parameters import Parameters, Question, refuse_impossible


async def refuse_unknown(request: Request) -> None:
    """Refuses unknown or repeated query parameters and repeated headers. Raises Unprocessable.

    A dependency of every route; routes outside the OpenAPI schema (the page) are skipped.
    """
    route = request.scope["route"]
    if not isinstance(route, APIRoute) or not route.include_in_schema:
        return
    known, headers = _declared(route.dependant)
    counts = Counter(name for name, _ in request.query_params.multi_items())
    wrong = [FieldProblem(field=name, detail=unknown(known)) for name in counts if name not in known]
    wrong += [
        FieldProblem(field=name, detail="This is there twice: send it once.")
        for name in (*(name for name in counts if counts[name] > 1), *_repeated(request, headers))
    ]
    if wrong:
        raise Unprocessable.of(wrong)


def unknown(names: Iterable[str]) -> str:
    """The error message for a name that is not one of these."""
    return f"Extra inputs are not permitted; there are: {', '.join(names) or 'none'}."


def _declared(dependant: Dependant) -> tuple[list[str], list[str]]:
    """The names of all query parameters and headers of a route and its dependencies."""
    query = [name for field in dependant.query_params for name in _names(field)]
    headers = [name for field in dependant.header_params for name in _names(field)]
    for dependency in dependant.dependencies:
        more_query, more_headers = _declared(dependency)
        query, headers = query + more_query, headers + more_headers
    return query, headers


def _names(field: Any) -> Iterable[str]:
    kind = field.field_info.annotation
    return kind.model_fields if isinstance(kind, type) and issubclass(kind, BaseModel) else [field.alias]


def _repeated(request: Request, headers: Iterable[str]) -> list[str]:
    return [name for name in headers if len(request.headers.getlist(name)) > 1]


# OpenAPI 3.1 says it by contentMediaType; generators of typed clients look for the older format.
BINARY = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
PICTURE = "PNG, JPEG, WebP, BMP or GIF"
TWICE = "This field is there twice: send it once."
NO_FILE = "This field was sent as a file: send it as text."
NEITHER = (
    "Send multipart/form-data, as curl's -F does, or the image as the whole body with its Content-Type, such "
    "as image/png."
)
BESIDE = "With a form no query parameters are taken: send this as a field of the form, beside the image."


class FormFields(Question):
    """The parameters in a form or query; the images come beside them."""

    model: Annotated[
        str | None, Field(max_length=100, description="a name from /models; by default the service's")
    ] = None

    # Unknown fields are errors: a misspelt field must not silently fall back to its default.
    model_config = ConfigDict(frozen=True, extra="forbid")

    def question(self) -> Question:
        """The parameters without the model's name."""
        return Question.model_validate(self.model_dump(include=set(Question.model_fields)))


@dataclass(frozen=True)
class Submission:
    """A validated body: the parameters, and the images to certify."""

    fields: FormFields
    images: Sequence[File]


async def _one_image(request: Request, fields: Annotated[FormFields, Query()]) -> AsyncIterator[Submission]:
    if is_picture(request):
        with await read_picture(request) as body:
            yield Submission(fields, body.images)
        return
    if not is_form(request):
        raise BadForm(NEITHER)
    if request.query_params:
        raise Unprocessable.of([FieldProblem(field=name, detail=BESIDE) for name in request.query_params])
    async for submission in _form(request):
        yield submission


async def _many_images(request: Request, service: ServiceOf) -> AsyncIterator[Submission]:
    async for submission in _form(request, most=service.settings.max_batch_images):
        yield submission


async def _form(request: Request, most: int | None = None) -> AsyncIterator[Submission]:
    with await read_form(request, most) as body:
        yield Submission(_validated(body, several=most is not None), body.images)


def _validated(body: Body, several: bool) -> FormFields:
    """Raises RequestValidationError, which names each invalid, missing, unknown or repeated field."""
    names = [name for name, _ in body.fields]
    wrong = {name: TWICE for name in names if names.count(name) > 1}
    wrong |= dict.fromkeys(body.misplaced, NO_FILE)
    wrong |= {name: unknown(FIELDS) for name in [*names, *body.misplaced] if name not in FIELDS}
    if not body.images:
        wrong["image"] = "Field required"
    if len(body.images) > 1 and not several:
        wrong["image"] = "There are several pictures: send one, or all of them to /batches."
    errors: list[Any] = [{"loc": (name,), "msg": why} for name, why in wrong.items()]
    try:
        parameters = FormFields.model_validate({name: text for name, text in body.fields if name in FIELDS})
    except ValidationError as error:
        raise RequestValidationError([*error.errors(), *errors]) from error
    if errors:
        raise RequestValidationError(errors)
    return parameters


FIELDS = ("image", *FormFields.model_fields)
OneImage = Annotated[Submission, Depends(_one_image)]
ManyImages = Annotated[Submission, Depends(_many_images)]


def described(many: bool = False) -> dict[str, Any]:
    """The `requestBody` of the OpenAPI schema."""
    file = BINARY | {"description": PICTURE}
    file_list = {"type": "array", "items": file, "minItems": 1, "description": "one part for each image"}
    form = FormFields.model_json_schema()
    form["properties"]["image"] = file_list if many else file
    form["required"] = ["image"]
    form["title"] = "BatchForm" if many else "CertifyForm"
    content: dict[str, Any] = {FORM: {"schema": form}}
    if not many:
        content["image/*"] = {"schema": BINARY}
    return {"requestBody": {"required": True, "content": content}}


log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Upload:
    """One image as uploaded, with its parameters and caller."""

    data: bytes
    question: Question
    model: str | None
    caller: Caller
    request_id: str
    idempotency_key: str | None = None
    lane: Lane = "single"


def submit(upload: Upload, service: Service) -> Job:
    """Submits an upload. The job is new, or an earlier one with the same idempotency key.

    Raises what `prepare` and `place` raise.
    """
    return place(prepare(upload, service), service)


def prepare(upload: Upload, service: Service) -> JobRequest:
    """Checks the parameters and decodes the image; writes nothing.

    Raises UnknownModel, BadCheckpoint, ImpossibleRequest, BadImage.
    """
    card = service.models.card(upload.model or default_model(service))
    parameters = ask(upload.question, card)
    image = service.decoders.submit(read_image, upload.data, card).result()
    return _request(upload, card, parameters, image)


def place(request: JobRequest, service: Service, job_id: str | None = None) -> Job:
    """Writes the record; the sender thread sends the message.

    Raises KeyReused, QueueFull, OverQuota, BrokerUnavailable.
    """
    submission = service.store.submit(request, job_id)
    if submission.message:
        log.info("submitted", job=submission.job_id, model=request.model, owner=request.owner)
        service.sender.submit(copy_context().run, _send, submission.message, service)
    return submission.job


def default_model(service: Service) -> str:
    """The configured default model if it exists, else the first by name."""
    preferred = service.settings.default_model
    names = service.models.names()
    return preferred if preferred in names or not names else names[0]


def ask(question: Question, card: ModelCard) -> Parameters:
    """The parameters for one model. Raises ImpossibleRequest if no outcome could satisfy them."""
    parameters = Parameters(**question.model_dump(), sigma=card.sigma)
    refuse_impossible(parameters)
    return parameters


def _request(upload: Upload, card: ModelCard, parameters: Parameters, image: CertifiedImage) -> JobRequest:
    body = hashlib.sha256(f"{card.name}\n{parameters.model_dump_json()}\n".encode() + upload.data)
    return JobRequest(
        model=card.name,
        parameters=parameters,
        image=image,
        owner=upload.caller.name,
        idempotency_key=upload.idempotency_key,
        body=body.hexdigest(),
        open_cap=upload.caller.open_jobs,
        request_id=upload.request_id,
        lane=upload.lane,
    )


def _send(message: Message, service: Service) -> None:
    """Runs in the sender thread. A failure loses no job: a sweep sends the message again."""
    try:
        service.publisher.send(message)
    except BrokerUnavailable:
        log.warning("message not sent", job=message.job_id)
    except Exception:  # no caller reads this future's exception
        log.exception("message not sent", job=message.job_id)
