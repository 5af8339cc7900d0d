"""The OpenAPI schema: problem responses, headers, and the examples of bodies."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from service.errors import PROBLEM_JSON
from smoothcert.schemas.job import Problem

Example = dict[str, Any]

_ID = "JrF4nBtisLfpwo_imgqOsh3V"
_HERE = f"/jobs/{_ID}"

QUEUED: Example = {
    "id": _ID,
    "status": "queued",
    "model": "mnist-lenet-consistency-0.50",
    "parameters": {
        "procedure": "anytime",
        "n0": 100,
        "n": 1000,
        "alpha": 0.001,
        "target_radius": None,
        "tolerance": None,
        "sigma": 0.5,
    },
    "queue_position": 0,
    "progress": {
        "samples": 0,
        "of": 1000,
        "radius": None,
        "predicted_class": None,
        "counts": None,
        "forecast": None,
    },
    "certificate": None,
    "error": None,
    "created_at": "2026-11-22T12:06:36.789468Z",
    "started_at": None,
    "finished_at": None,
    "attempts": 0,
    "links": {
        "self": _HERE,
        "events": f"{_HERE}/events",
        "cancel": f"{_HERE}/cancel",
        "certificate": f"{_HERE}/certificate",
        "input": f"{_HERE}/input.png",
    },
}

CERTIFICATE: Example = {
    "version": 1,
    "outcome": "certified",
    "procedure": "anytime",
    "predicted_class": 3,
    "label": "3",
    "radius": 1.2026,
    "norm": "l2",
    "sigma": 0.5,
    "alpha": 0.001,
    "n0": 100,
    "n": 1000,
    "drawn": 1000,
    "selection_counts": [0, 0, 0, 100, 0, 0, 0, 0, 0, 0],
    "counts": [0, 0, 0, 1000, 0, 0, 0, 0, 0, 0],
    "bound": "runner_up",
    "p_lower": 0.9929,
    "p_upper": 0.0071,
    "schedule": [{"n": 1000, "alpha": 0.0009, "alpha_runner_up": 0.00009}],
    "slack": 0.0,
    "target_radius": None,
    "tolerance": None,
    "target_met": None,
    "model": {"name": "mnist-lenet-consistency-0.50", "sha256": "9f" * 32, "classifier_sha256": "5c" * 32},
    "input": {"shape": [1, 28, 28], "sha256": "1c" * 32, "preprocessing": ["decoded from PNG, 28x28"]},
    "seed": "5e" * 16,
    "engine": {"device": "cpu", "backend": "eager", "precision": "float32", "batch": 256, "versions": {}},
    "asked_before": 0,
    "made_by": {"name": "SmoothCert", "version": "0.2.0"},
    "issued_at": "2026-11-22T12:06:37.201934Z",
}

SUCCEEDED: Example = QUEUED | {
    "status": "succeeded",
    "queue_position": None,
    "progress": {
        "samples": 1000,
        "of": 1000,
        "radius": 1.2026,
        "predicted_class": 3,
        "counts": CERTIFICATE["counts"],
        "forecast": None,
    },
    "certificate": CERTIFICATE,
    "started_at": "2026-11-22T12:06:36.801223Z",
    "finished_at": "2026-11-22T12:06:37.201934Z",
    "attempts": 0,
}

CANCELLED: Example = SUCCEEDED | {"status": "cancelled"}

BATCH: Example = {
    "id": "b0t9Xo2xQ3mJx7mYbFq1aSxk",
    "created_at": "2026-11-22T12:06:36.789468Z",
    "ended": False,
    "counts": {"queued": 1},
    "jobs": [QUEUED],
    "links": {"self": "/batches/b0t9Xo2xQ3mJx7mYbFq1aSxk"},
}

LIST: Example = {"jobs": [SUCCEEDED], "next": None}


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
            _drop_query_defaults(schema["paths"]["/certify"]["post"])
            for path in ("/certify", "/batches"):
                _name_form(schema["paths"][path]["post"], schema["components"]["schemas"])
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


def _drop_query_defaults(operation: dict[str, Any]) -> None:
    """Defaults in words: generated clients send a default, and no query parameter goes with a form."""
    for parameter in operation["parameters"]:
        default = parameter["schema"].pop("default", None)
        if default is not None:
            parameter["description"] = f"{parameter.get('description', '')} (default: {default})".strip()


def _name_form(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """The form as a named schema, so that generated clients name it so."""
    body = operation["requestBody"]["content"]["multipart/form-data"]
    form = body["schema"]
    schemas[form["title"]] = form
    body["schema"] = {"$ref": f"#/components/schemas/{form['title']}"}


def operation_id(route: APIRoute) -> str:
    """For example `certify`, `get_job`: what generated clients call the operation."""
    return route.name.replace("read_", "get_", 1)


def _content(status: int) -> dict[str, Any]:
    title = HTTPStatus(status).phrase
    example = {"type": "about:blank", "title": title, "status": status, "detail": SAYS[status]}
    return {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}
