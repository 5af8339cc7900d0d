"""HTTP client of the service: submit images, follow jobs and batches, read certificates."""

import os
import secrets
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from ipaddress import ip_address
from types import TracebackType
from typing import Self, TypeVar

import httpx2
from pydantic import BaseModel, ValidationError
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from smoothcert.errors import InternalError, InvalidRequest
from smoothcert.schemas.certificate import PublicKeys
from smoothcert.schemas.job import Batch, Job, Problem

TIMEOUT = 30.0  # seconds until a silent service counts as gone
WAIT = 1  # seconds of long polling; the service answers at once when the job ends
PATIENCE = 30.0  # seconds to retry while the service is away; a restart loses no job

Document = TypeVar("Document", bound=BaseModel)


class ConnectionLost(InternalError):
    """The connection was lost, so the request may or may not have arrived."""


class ServiceClient:
    """A client of one service.

    Raises InvalidRequest if the service rejects a request, InternalError if it can't be reached or fails.
    """

    def __init__(self, url: str, api_key: str | None = None) -> None:
        try:
            address = httpx2.URL(url)
        except (httpx2.InvalidURL, UnicodeError) as error:
            raise InvalidRequest(f"--url {url!r} is no address: {error}.") from error
        if address.scheme not in ("http", "https") or not address.host:
            raise InvalidRequest(f"--url {url!r} is no address; write it like http://127.0.0.1:8000.")
        if api_key and not (api_key.isascii() and api_key.isprintable()):
            raise InvalidRequest("SMOOTHCERT_API_KEY is no key as `smoothcert keys create` prints them.")
        self._http = _http(address, {"Authorization": f"Bearer {api_key}"} if api_key else {})

    def submit(self, name: str, image: bytes, fields: dict[str, str]) -> Job:
        """POST /certify. Retries create no second job, as they carry an idempotency key."""
        return _read(Job, self._submit("/certify", [(name, image)], fields))

    def submit_batch(self, images: Sequence[tuple[str, bytes]], fields: dict[str, str]) -> Batch:
        """POST /batches with names and bytes of images. Retries create no second batch."""
        return _read(Batch, self._submit("/batches", images, fields))

    def follow(self, job: Job) -> Iterator[Job]:
        """Snapshots of a job until it has ended; the last one is terminal."""
        yield job
        while not job.ended:
            ask = partial(self._ask, "GET", job.links.self, params={"wait": WAIT})
            job = _read(Job, self._retry(ask))
            yield job

    def follow_batch(self, batch: Batch) -> Iterator[Batch]:
        """Snapshots of a batch until all its jobs have ended."""
        yield batch
        while not batch.ended:
            time.sleep(WAIT)
            batch = _read(Batch, self._retry(partial(self._ask, "GET", batch.links.self)))
            yield batch

    def cancel(self, job: Job) -> None:
        """POST /jobs/{id}/cancel. The job keeps the radius proved so far."""
        self._ask("POST", job.links.cancel)

    def signing_keys(self) -> PublicKeys:
        """GET /keys/signing: the public keys of the service's signatures."""
        return _read(PublicKeys, self._ask("GET", "/keys/signing"))

    def _submit(
        self, path: str, images: Sequence[tuple[str, bytes]], fields: dict[str, str]
    ) -> httpx2.Response:
        ask = partial(
            self._ask,
            "POST",
            path,
            files=[("image", image) for image in images],
            data=fields,
            headers={"Idempotency-Key": secrets.token_urlsafe(16)},
        )
        try:
            return ask()
        except ConnectionLost:  # the service may have created the job, or be restarting
            return self._retry(ask)

    def _retry(self, ask: Callable[[], httpx2.Response]) -> httpx2.Response:
        again = Retrying(
            retry=retry_if_exception_type(InternalError),
            wait=wait_fixed(WAIT),
            stop=stop_after_delay(PATIENCE),
            reraise=True,
        )
        return again(ask)

    def _ask(self, method: str, path: str, **request: object) -> httpx2.Response:
        try:
            answer = self._http.request(method, self._place(path), **request)  # type: ignore[arg-type]
        except httpx2.TransportError as error:
            reason = str(error) or type(error).__name__
            kind = InternalError if isinstance(error, httpx2.ConnectError) else ConnectionLost
            raise kind(
                f"{self._http.base_url} does not answer ({reason}); `smoothcert up` starts a service."
            ) from error
        except UnicodeError as error:
            raise InvalidRequest("What is to be sent is no text: it isn't UTF-8.") from error
        if answer.is_success:
            return answer
        raise _refusal(answer)

    def _place(self, path: str) -> str:
        """The path below the base URL.

        Links from the service include a proxy prefix, which the base URL has too.
        """
        below = self._http.base_url.path.rstrip("/")
        return path.removeprefix(below) if below and path.startswith(f"{below}/") else path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()


def _http(address: httpx2.URL, headers: dict[str, str]) -> httpx2.Client:
    """A client with proxies and CA certificates from the environment. No proxy for loopback addresses.

    Raises InvalidRequest.
    """
    secure = address.scheme == "https"
    try:
        return httpx2.Client(
            base_url=address,
            headers=headers,
            timeout=TIMEOUT,
            trust_env=not _is_loopback(address.host),
            verify=_authorities() if secure else False,
        )
    except ImportError as error:
        raise InvalidRequest(
            "The environment names a SOCKS proxy (ALL_PROXY), which is not supported: name one of HTTP, or "
            "the service's host in NO_PROXY."
        ) from error
    except (ValueError, httpx2.InvalidURL) as error:
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


def _read(kind: type[Document], answer: httpx2.Response) -> Document:
    try:
        return kind.model_validate_json(answer.content)
    except ValidationError as error:
        raise InternalError(
            f"{answer.url} is not a SmoothCert service: it answered something else."
        ) from error


def _refusal(answer: httpx2.Response) -> Exception:
    """The error of a problem document: InvalidRequest below status 500, else InternalError."""
    kind = InvalidRequest if answer.is_client_error else InternalError
    try:
        problem = Problem.model_validate_json(answer.content)
    except ValidationError:
        return kind(f"{answer.url} answered {answer.status_code} {answer.reason_phrase}.")
    fields = "; ".join(f"{error.field}: {error.detail}" for error in problem.errors or ())
    detail = (
        problem.detail if not fields or fields.endswith(problem.detail) else f"{problem.detail} ({fields})"
    )
    return kind(f"The service refused ({problem.status} {problem.title}): {detail}")
