"""Errors on the wire: RFC 9457 problem details."""

from pydantic import BaseModel, ConfigDict


class FieldProblem(BaseModel):
    """One request field that is wrong: what was sent is never repeated, what is allowed is said."""

    field: str
    detail: str


class Problem(BaseModel):
    """RFC 9457 `application/problem+json`."""

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str | None = None
    errors: list[FieldProblem] | None = None
