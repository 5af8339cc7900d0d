"""What POST /certify and POST /batches take, and the schema of their bodies.

Unknown fields and query parameters are refused, and so are those that are sent twice.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.bodies import FORM, Body, File, is_picture, read_form, read_picture
from service.errors import Unprocessable
from service.state import ServiceOf
from smoothcert.schemas.job import FieldProblem
from smoothcert.schemas.parameters import Question


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
