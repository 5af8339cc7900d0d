"""Adds the error responses of each route to the OpenAPI schema, as application/problem+json."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI

from service.errors import PROBLEM_JSON
from service.examples import Example
from smoothcert.schemas.job import Problem

Responses = dict[int | str, dict[str, Any]]

SAYS = {
    400: "The form could not be read.",
    401: "No API key, or none of ours, where the service wants one.",
    403: "Another site's page made the browser send this.",
    404: "No such thing: unknown, expired, or another caller's.",
    409: "The job has no certificate yet.",
    413: "More bytes than the service takes.",
    415: "Not an image we take.",
    421: "A `Host` that this service doesn't go by.",
    422: "Wrong parameters: `errors` names each field and what is allowed.",
    429: "More than the caller's share; see Retry-After.",
    503: "The broker is down, the queue is full, the model damaged, too many follow jobs; see Retry-After.",
}
RETRY_AFTER = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}


def problems(*statuses: int) -> Responses:
    """The `responses` of a route that may return these errors."""
    return {status: _problem(status) for status in statuses}


def shows(status: int, example: Example) -> Responses:
    """The `responses` of a route, with an example."""
    return {status: {"content": {"application/json": {"example": example}}}}


def _problem(status: int) -> dict[str, Any]:
    response = {"model": Problem, "description": SAYS[status]}
    return response | ({"headers": RETRY_AFTER} if status in {409, 429, 503} else {})


def complete_schema(app: FastAPI) -> None:
    """Corrects the media type of errors: FastAPI lists them under the route's own."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        fresh = app.openapi_schema is None
        schema = generate()
        if fresh:
            _file_problems(schema)
        return schema

    app.openapi = openapi  # type: ignore[method-assign]


def _file_problems(schema: dict[str, Any]) -> None:
    for operations in schema["paths"].values():
        for operation in operations.values():
            operation["responses"].setdefault("421", {"description": SAYS[421]})
            for status, response in operation["responses"].items():
                if status >= "400":
                    response["content"] = {PROBLEM_JSON: _content(int(status))}
    for unused in ("HTTPValidationError", "ValidationError"):
        schema["components"]["schemas"].pop(unused, None)


def _content(status: int) -> dict[str, Any]:
    title = HTTPStatus(status).phrase
    example = {"type": "about:blank", "title": title, "status": status, "detail": SAYS[status]}
    return {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}
