"""Error responses: one class hierarchy, one handler, RFC 9457 problem documents.

ServiceError               carries its status; the docstring is the default detail
├── BadForm          400   a malformed or incomplete body
├── Unauthorized     401   no API key, or an unknown one
├── CrossSiteRequest      403   another site's page made the browser send this
├── NotFound         404   the same for unknown ids, expired ones and those of other callers
├── NotYet           409   the job has no certificate yet
├── TooLarge         413
├── NotAnImage       415
├── UnsupportedEncoding 415  a compressed body
├── WrongHost        421   a Host that is not one of this service's names
├── Unprocessable    422   names the fields and what is allowed
├── TooMany          429   the caller's quota
└── Unavailable      503   broker down, queue full, model broken: with Retry-After
"""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from smoothcert.errors import (
    BadCheckpoint,
    BadImage,
    BadKeyFile,
    BrokerUnavailable,
    ImpossibleRequest,
    InvalidRequest,
    KeyReused,
    OverQuota,
    QueueFull,
    UnknownModel,
)
from smoothcert.schemas.job import FieldProblem, Problem
from smoothcert.schemas.parameters import reason

PROBLEM_JSON = "application/problem+json"
RETRY_AFTER = 2  # seconds
# Browsers know only Basic; Chromium reads only the first challenge of a header line.
CHALLENGE = 'Basic realm="SmoothCert", charset="UTF-8", Bearer realm="SmoothCert"'


class ServiceError(HTTPException):
    """The request failed."""

    status = 500
    kind = "about:blank"
    retry_after: int | None = None

    def __init__(
        self,
        detail: str | None = None,
        errors: Sequence[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        defaults = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        super().__init__(self.status, detail or type(self).__doc__, defaults | dict(headers or {}))
        self.errors = list(errors) or None


class BadForm(ServiceError):
    """The form could not be read."""

    status = 400
    kind = "urn:smoothcert:problem:unreadable-form"


class Unauthorized(ServiceError):
    """This service wants an API key: send it as `Authorization: Bearer KEY`."""

    status = 401
    kind = "urn:smoothcert:problem:unauthorized"

    def __init__(self) -> None:
        super().__init__(headers={"WWW-Authenticate": CHALLENGE})


class CrossSiteRequest(ServiceError):
    """A page of another site made your browser send this; only this service's own page may."""

    status = 403
    kind = "urn:smoothcert:problem:foreign-page"


class NotFound(ServiceError):
    """There is no such thing here; jobs are forgotten some time after they ended."""

    status = 404
    kind = "urn:smoothcert:problem:not-found"


class NotYet(ServiceError):
    """The job has no certificate yet; wait until it has ended."""

    status = 409
    kind = "urn:smoothcert:problem:not-yet"
    retry_after = 1


class TooLarge(ServiceError):
    """The request is larger than this service takes."""

    status = 413
    kind = "urn:smoothcert:problem:too-large"


class NotAnImage(ServiceError):
    """Not an image we take."""

    status = 415
    kind = "urn:smoothcert:problem:not-an-image"


class UnsupportedEncoding(ServiceError):
    """Bodies are taken as they are, without Content-Encoding."""

    status = 415
    kind = "urn:smoothcert:problem:unsupported-encoding"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"Accept-Encoding": "identity"})  # RFC 9110, 12.5.3


class WrongHost(ServiceError):
    """This service does not go by the name in `Host`; its operator lists its names in SMOOTHCERT_HOSTS."""

    status = 421
    kind = "urn:smoothcert:problem:wrong-host"


class Unprocessable(ServiceError):
    """The parameters are not ones this service can work with."""

    status = 422
    kind = "urn:smoothcert:problem:wrong-parameters"

    @classmethod
    def of(cls, errors: Sequence[FieldProblem]) -> "Unprocessable":
        """The detail names the fields."""
        fields = ", ".join(dict.fromkeys(error.field for error in errors)) or "body"
        return cls(f"Wrong or missing: {fields}.", errors)


class TooMany(ServiceError):
    """You ask for more than your share."""

    status = 429
    kind = "urn:smoothcert:problem:quota"
    retry_after = 5


class Unavailable(ServiceError):
    """The service can't take this request now; try again shortly."""

    status = 503
    kind = "urn:smoothcert:problem:unavailable"
    retry_after = RETRY_AFTER


def as_service_error(error: Exception) -> HTTPException:
    """Maps an exception of the library, the broker or the framework to an HTTP error."""
    if isinstance(error, HTTPException):
        return error
    for kind, convert in ANSWERS:
        if isinstance(error, kind):
            return convert(error)
    return HTTPException(500, "Something went wrong here; it has been logged.")


def _naming(field: str) -> Callable[[Exception], ServiceError]:
    return lambda error: Unprocessable(str(error), [FieldProblem(field=field, detail=str(error))])


def _impossible(error: Exception) -> ServiceError:
    assert isinstance(error, ImpossibleRequest)
    return _naming("n" if error.least_n else "target_radius")(error)


def _invalid(error: Exception) -> Unprocessable:
    assert isinstance(error, RequestValidationError)
    errors = [
        FieldProblem(field=str(item["loc"][-1]), detail=reason(item["msg"]))
        for item in error.errors()
        if item["loc"]
    ]
    return Unprocessable.of(errors)


ANSWERS: tuple[tuple[type[Exception], Callable[[Exception], ServiceError]], ...] = (
    (RequestValidationError, _invalid),
    (BadImage, lambda error: NotAnImage(str(error))),
    (ImpossibleRequest, _impossible),
    (UnknownModel, _naming("model")),
    (KeyReused, _naming("Idempotency-Key")),
    (OverQuota, lambda error: TooMany(str(error))),
    (InvalidRequest, lambda error: Unprocessable(str(error))),
    (QueueFull, lambda error: Unavailable(str(error))),
    (
        BadCheckpoint,
        lambda _: Unavailable("This model can't be served at the moment: its folder is damaged."),
    ),
    (BadKeyFile, lambda _: Unavailable("The keys of this service can't be read; its operator has to look.")),
    (BrokerUnavailable, lambda _: Unavailable("The job store does not answer; try again shortly.")),
)


def to_problem(error: HTTPException, path: str | None = None) -> Problem:
    """The problem document of an error. Errors of the framework have only a status and a detail."""
    return Problem(
        type=getattr(error, "kind", "about:blank"),
        title=HTTPStatus(error.status_code).phrase,
        status=error.status_code,
        detail=error.detail,
        instance=path,
        errors=getattr(error, "errors", None),
    )


def problem_response(error: HTTPException, path: str | None = None) -> Response:
    """The problem document of an error, as an HTTP response."""
    body = to_problem(error, path).model_dump_json(exclude_none=True)
    return Response(body, error.status_code, error.headers, PROBLEM_JSON)


async def render(request: Request, error: Exception) -> Response:
    """The only exception handler of the application."""
    response = problem_response(as_service_error(error), request.url.path)
    if response.headers.get("Allow") == "GET":  # Starlette's; HeadRequests answers HEAD
        response.headers["Allow"] = "GET, HEAD"
    if response.status_code == 500:  # Starlette sends it outside of all middleware, so RequestIds misses it
        response.headers["X-Request-ID"] = getattr(request.state, "request_id", "none")
    return response
