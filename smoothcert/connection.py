"""HTTP with the service and with time-stamp authorities: connections, requests to build, responses to read.

Proxies and CA certificates are the environment's. Errors are in words.
"""

import os
import secrets
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

import httpx2
from pydantic import BaseModel, TypeAdapter, ValidationError

from smoothcert.errors import InternalError, InvalidRequest
from smoothcert.files import read_file, shown
from smoothcert.schemas.card import ModelCard
from smoothcert.schemas.job import Problem

TIMEOUT = 30.0  # seconds until a silent server counts as gone


class Address:
    """Where a server is, and what every request to it carries."""

    def __init__(self, url: str, api_key: str | None = None) -> None:
        try:
            self.url = httpx2.URL(url)
        except (httpx2.InvalidURL, UnicodeError) as error:
            raise InvalidRequest(f"{url!r} is no address: {error}.") from error
        if self.url.scheme not in ("http", "https") or not self.url.host:
            raise InvalidRequest(f"{url!r} is no address; write it like http://127.0.0.1:8000.")
        if api_key and not (api_key.isascii() and api_key.isprintable()):
            raise InvalidRequest(
                "The API key (api_key, SMOOTHCERT_API_KEY) is none as `smoothcert keys create` prints them."
            )
        self.headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}

    def options(self) -> dict[str, Any]:
        """Proxies and CA certificates are the environment's. No proxy for loopback addresses."""
        return {
            "base_url": self.url,
            "headers": self.headers,
            "timeout": TIMEOUT,
            "trust_env": not _is_loopback(self.url.host),
            "verify": _authorities() if self.url.scheme == "https" else False,
        }

    def place(self, path: str) -> str:
        """The path below the base URL: links of the service hold a proxy's prefix, as the base URL does."""
        below = self.url.path.rstrip("/")
        return path.removeprefix(below) if below and path.startswith(f"{below}/") else path


def open_client(kind: Callable[..., Any], address: Address) -> Any:
    """An HTTP client, httpx2.Client or httpx2.AsyncClient. Raises InvalidRequest."""
    try:
        return kind(**address.options())
    except ImportError as error:
        raise InvalidRequest(
            "The environment names a SOCKS proxy (ALL_PROXY), which is not supported: name one of HTTP, or "
            "the server's host in NO_PROXY."
        ) from error
    except (ValueError, httpx2.InvalidURL) as error:
        if isinstance(error, InvalidRequest):
            raise
        raise InvalidRequest(
            f"A proxy of the environment (HTTP_PROXY, ...) can't be used: {error}."
        ) from error


def _authorities() -> ssl.SSLContext:
    """The CA certificates of SSL_CERT_FILE or SSL_CERT_DIR, else the default ones. Raises InvalidRequest."""
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    try:
        if file or folder:
            return ssl.create_default_context(cafile=file or None, capath=folder or None)
        return httpx2.create_ssl_context()
    except OSError as error:  # ssl.SSLError is one
        named = f"SSL_CERT_FILE={file}" if file else f"SSL_CERT_DIR={folder}"
        reason = error.strerror or str(error)
        raise InvalidRequest(f"{named} holds no certificates that can be read: {reason}.") from error


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


Document = TypeVar("Document", bound=BaseModel)
Named = tuple[str, bytes]  # a file's name and content


class ConnectionLost(InternalError):
    """The connection was lost, so the request may or may not have arrived."""


class RequestRefused(InvalidRequest):
    """The service refused the request. problem: its RFC 9457 document, with status, detail and errors."""

    def __init__(self, message: str, problem: Problem) -> None:
        super().__init__(message)
        self.problem = problem


@dataclass(frozen=True)
class Request:
    """One HTTP request, for either client."""

    method: str
    path: str
    options: dict[str, Any]


def named_file(image: Any) -> Named:
    """A file's name and content. Raises InvalidRequest."""
    if isinstance(image, bytes):
        return "image", image
    if isinstance(image, str | Path):
        path = Path(image)
        return shown(path.name), read_file(path)
    return "image.png", _png(image)


def _png(image: Any) -> bytes:
    from PIL import Image  # noqa: PLC0415

    from smoothcert.images.arrays import as_picture, png_of  # noqa: PLC0415

    return png_of(image if isinstance(image, Image.Image) else as_picture(image))


def form_fields(model: str | None, parameters: dict[str, Any]) -> dict[str, str]:
    """The fields of a submission's form: those that are given."""
    named = {"model": model, **parameters}
    return {name: str(value) for name, value in named.items() if value is not None}


def get(path: str, **query: Any) -> Request:
    """A GET with these query parameters."""
    return Request("GET", path, {"params": query} if query else {})


def submission(path: str, images: Sequence[Named], fields: dict[str, str]) -> Request:
    """A POST with a fresh idempotency key: sent twice, it creates one job."""
    options = {
        "files": [("image", image) for image in images],
        "data": fields,
        "headers": {"Idempotency-Key": secrets.token_urlsafe(16)},
    }
    return Request("POST", path, options)


def connection_error(error: Exception, address: Address) -> Exception:
    """The error to raise for one of the HTTP library: ConnectionLost if the request may have arrived."""
    if isinstance(error, UnicodeError):
        return InvalidRequest("What is to be sent is no text: it isn't UTF-8.")
    reason = str(error) or type(error).__name__
    kind = InternalError if isinstance(error, httpx2.ConnectError) else ConnectionLost
    return kind(f"{address.url} does not answer ({reason}); `smoothcert up` starts a service.")


def read(kind: type[Document], answer: httpx2.Response) -> Document:
    """The response's document. Raises InternalError: it is none of the service's."""
    try:
        return kind.model_validate_json(answer.content)
    except ValidationError as error:
        raise _foreign(answer) from error


def read_models(answer: httpx2.Response) -> list[ModelCard]:
    """The list of model cards. Raises InternalError, as `read` does."""
    try:
        return TypeAdapter(list[ModelCard]).validate_json(answer.content)
    except ValidationError as error:
        raise _foreign(answer) from error


def _foreign(answer: httpx2.Response) -> InternalError:
    return InternalError(f"{answer.url} is not a SmoothCert service: it answered something else.")


def checked(answer: httpx2.Response) -> httpx2.Response:
    """Raises the error of a problem document: RequestRefused below status 500, else InternalError."""
    if answer.is_success:
        return answer
    kind = InvalidRequest if answer.is_client_error else InternalError
    try:
        problem = Problem.model_validate_json(answer.content)
    except ValidationError:
        raise kind(f"{answer.url} answered {answer.status_code} {answer.reason_phrase}.") from None
    fields = "; ".join(f"{error.field}: {error.detail}" for error in problem.errors or ())
    complete = not fields or fields.endswith(problem.detail)
    detail = problem.detail if complete else f"{problem.detail} ({fields})"
    message = f"The service refused ({problem.status} {problem.title}): {detail}"
    raise RequestRefused(message, problem) if answer.is_client_error else InternalError(message)
