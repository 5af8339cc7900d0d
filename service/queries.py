"""Refuses unknown query parameters, and query parameters and headers that are sent twice."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel

from service.errors import Unprocessable
from smoothcert.schemas.job import FieldProblem


async def refuse_unknown(request: Request) -> None:
    """A dependency of every route; skips those outside the schema, like the page. Raises Unprocessable."""
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
