"""HTTP clients of the service, blocking and asynchronous: submit images, follow jobs, read certificates.

    with smoothcert.Client("http://127.0.0.1:8000") as client:
        job = client.submit("digit.png", n=10_000)
        job.wait(timeout=60)
        job.certificate.radius

Submissions are retried without creating a second job, as they carry an idempotency key. Errors:
InvalidRequest for what the service refuses (RequestRefused, with its problem document), InternalError if it
fails or can't be reached.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2
from pydantic import BaseModel, TypeAdapter, ValidationError
from tenacity import AsyncRetrying, Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from smoothcert.connection import Address, open_client
from smoothcert.errors import InternalError, InvalidRequest, JobFailed
from smoothcert.files import shown
from smoothcert.schemas.card import ModelCard
from smoothcert.schemas.certificate import Certificate, PublicKeys
from smoothcert.schemas.job import Batch, Job, Problem, Status

WAIT = 1  # seconds of long polling; the service answers at once when the job ends
PATIENCE = 30.0  # seconds to retry while the service is away; a restart loses no job
MAX_FILE = 200_000_000  # bytes

Document = TypeVar("Document", bound=BaseModel)
Named = tuple[str, bytes]  # a file's name and content


class ConnectionLost(InternalError):
    """The connection was lost, so the request may or may not have arrived."""


class JobTimeout(InternalError, TimeoutError):
    """The job has not ended in this time; it goes on."""


class RequestRefused(InvalidRequest):
    """The service refused the request. problem: its RFC 9457 document, with status, detail and errors."""

    def __init__(self, message: str, problem: Problem) -> None:
        super().__init__(message)
        self.problem = problem


@dataclass(frozen=True)
class _Request:
    """One HTTP request, for either client."""

    method: str
    path: str
    options: dict[str, Any]


class _Handle:
    """What both kinds of jobs show. snapshot: the job as last seen."""

    def __init__(self, snapshot: Job) -> None:
        self.snapshot = snapshot

    @property
    def id(self) -> str:
        return self.snapshot.id

    @property
    def status(self) -> Status:
        """As last seen: `queued`, `running`, `succeeded`, `failed` or `cancelled`."""
        return self.snapshot.status

    @property
    def ended(self) -> bool:
        return self.snapshot.ended

    @property
    def certificate(self) -> Certificate:
        """The certificate, once the job has been seen to end: call `wait` first.

        Raises JobTimeout: not ended yet; JobFailed: it ended without one.
        """
        return certificate_of(self.snapshot)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}: {self.status}>"


class RemoteJob(_Handle):
    """A job of a service, followed by a `Client`."""

    def __init__(self, snapshot: Job, client: "Client") -> None:
        super().__init__(snapshot)
        self._client = client

    def wait(self, timeout: float | None = None) -> Self:
        """Wait until the job has ended. timeout: seconds. Raises JobTimeout; the job goes on."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self.ended:
            left = _time_left(end, self.snapshot)
            self.snapshot = self._client.read(self.snapshot, wait=min(WAIT, left))
        return self

    def events(self) -> Iterator[Job]:
        """Snapshots of the job until it has ended; the last one is terminal."""
        yield self.snapshot
        while not self.ended:
            self.snapshot = self._client.read(self.snapshot, wait=WAIT)
            yield self.snapshot

    def cancel(self) -> None:
        """End the job now. It keeps the radius proved so far as its certificate."""
        self.snapshot = self._client.cancel(self.snapshot)


class AsyncRemoteJob(_Handle):
    """A job of a service, followed by an `AsyncClient`."""

    def __init__(self, snapshot: Job, client: "AsyncClient") -> None:
        super().__init__(snapshot)
        self._client = client

    async def wait(self, timeout: float | None = None) -> Self:  # noqa: ASYNC109  # as the blocking one has it
        """Wait until the job has ended. timeout: seconds. Raises JobTimeout; the job goes on."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self.ended:
            left = _time_left(end, self.snapshot)
            self.snapshot = await self._client.read(self.snapshot, wait=min(WAIT, left))
        return self

    async def events(self) -> AsyncIterator[Job]:
        """Snapshots of the job until it has ended; the last one is terminal."""
        yield self.snapshot
        while not self.ended:
            self.snapshot = await self._client.read(self.snapshot, wait=WAIT)
            yield self.snapshot

    async def cancel(self) -> None:
        """End the job now. It keeps the radius proved so far as its certificate."""
        self.snapshot = await self._client.cancel(self.snapshot)


class Client:
    """A client of one service; also a context manager that closes its connections.

    url: of the service. api_key: where the service wants one. Raises InvalidRequest: no such address or key,
    or a proxy of the environment that can't be used.
    """

    def __init__(self, url: str = "http://127.0.0.1:8000", api_key: str | None = None) -> None:
        self._address = Address(url, api_key)
        self._http = open_client(httpx2.Client, self._address)

    def submit(self, image: Any, model: str | None = None, **parameters: Any) -> RemoteJob:
        """POST /certify: queue one image.

        image: a path, the bytes of a file, a PIL image, or a uint8 array (H,W[,C]). model: a name from
        `models`; by default the service's. parameters: n, n0, alpha, procedure, target_radius, tolerance,
        deadline.
        """
        return RemoteJob(self.submit_file(*_file(image), _fields(model, parameters)), self)

    def submit_file(self, name: str, image: bytes, fields: dict[str, str]) -> Job:
        """POST /certify with a file's name and content, and the form's fields."""
        return _read(Job, self._submit(_submission("/certify", [(name, image)], fields)))

    def submit_batch(self, images: Sequence[Named], fields: dict[str, str]) -> Batch:
        """POST /batches with names and contents of files. Retries create no second batch."""
        return _read(Batch, self._submit(_submission("/batches", images, fields)))

    def job(self, job_id: str) -> RemoteJob:
        """A job by its id."""
        return RemoteJob(_read(Job, self._ask(_get(f"/jobs/{job_id}"))), self)

    def models(self) -> list[ModelCard]:
        """GET /models: the cards of the models of this service."""
        return _read_models(self._ask(_get("/models")))

    def read(self, job: Job, wait: float = 0) -> Job:
        """The job as it is now, or as soon as it ends within `wait` seconds; retried while the service is
        away.
        """
        return _read(Job, self._retry(partial(self._ask, _get(job.links.self, wait=wait))))

    def follow(self, job: Job) -> Iterator[Job]:
        """Snapshots of a job until it has ended; the last one is terminal."""
        return RemoteJob(job, self).events()

    def follow_batch(self, batch: Batch) -> Iterator[Batch]:
        """Snapshots of a batch until all its jobs have ended."""
        yield batch
        while not batch.ended:
            time.sleep(WAIT)
            batch = _read(Batch, self._retry(partial(self._ask, _get(batch.links.self))))
            yield batch

    def cancel(self, job: Job) -> Job:
        """POST /jobs/{id}/cancel. The job keeps the radius proved so far."""
        return _read(Job, self._ask(_Request("POST", job.links.cancel, {})))

    def signing_keys(self) -> PublicKeys:
        """GET /keys/signing: the public keys of the service's signatures."""
        return _read(PublicKeys, self._ask(_get("/keys/signing")))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _submit(self, request: _Request) -> httpx2.Response:
        try:
            return self._ask(request)
        except ConnectionLost:  # the service may have created the job, or be restarting
            return self._retry(partial(self._ask, request))

    def _retry(self, ask: Callable[[], httpx2.Response]) -> httpx2.Response:
        return Retrying(**_AGAIN)(ask)

    def _ask(self, request: _Request) -> httpx2.Response:
        try:
            answer = self._http.request(request.method, self._address.place(request.path), **request.options)
        except (httpx2.TransportError, UnicodeError) as error:
            raise _lost(error, self._address) from error
        return _checked(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient:
    """`Client` for asyncio: the same calls, awaited; an asynchronous context manager."""

    def __init__(self, url: str = "http://127.0.0.1:8000", api_key: str | None = None) -> None:
        self._address = Address(url, api_key)
        self._http = open_client(httpx2.AsyncClient, self._address)

    async def submit(self, image: Any, model: str | None = None, **parameters: Any) -> AsyncRemoteJob:
        """POST /certify: queue one image, given as to `Client.submit`."""
        name, data = await asyncio.to_thread(_file, image)
        request = _submission("/certify", [(name, data)], _fields(model, parameters))
        try:
            answer = await self._ask(request)
        except ConnectionLost:
            answer = await self._retry(partial(self._ask, request))
        return AsyncRemoteJob(_read(Job, answer), self)

    async def job(self, job_id: str) -> AsyncRemoteJob:
        """A job by its id."""
        return AsyncRemoteJob(_read(Job, await self._ask(_get(f"/jobs/{job_id}"))), self)

    async def models(self) -> list[ModelCard]:
        """GET /models: the cards of the models of this service."""
        return _read_models(await self._ask(_get("/models")))

    async def read(self, job: Job, wait: float = 0) -> Job:
        """The job as it is now, or as soon as it ends within `wait` seconds; retried while the service is
        away.
        """
        return _read(Job, await self._retry(partial(self._ask, _get(job.links.self, wait=wait))))

    async def cancel(self, job: Job) -> Job:
        """POST /jobs/{id}/cancel. The job keeps the radius proved so far."""
        return _read(Job, await self._ask(_Request("POST", job.links.cancel, {})))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _retry(self, ask: Callable[[], Awaitable[httpx2.Response]]) -> httpx2.Response:
        return await AsyncRetrying(**_AGAIN)(ask)

    async def _ask(self, request: _Request) -> httpx2.Response:
        try:
            place = self._address.place(request.path)
            answer = await self._http.request(request.method, place, **request.options)
        except (httpx2.TransportError, UnicodeError) as error:
            raise _lost(error, self._address) from error
        return _checked(answer)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def certificate_of(job: Job) -> Certificate:
    """The certificate of a job that has ended. Raises JobTimeout: it hasn't; JobFailed: it has none."""
    if job.certificate is not None:
        return job.certificate
    if not job.ended:
        raise JobTimeout(f"Job {job.id} is {job.status}: call wait() before its certificate.")
    why = job.error.detail if job.error else "it was cancelled before anything was proved"
    raise JobFailed(f"Job {job.id} {job.status}: {why}")


_AGAIN: dict[str, Any] = {
    "retry": retry_if_exception_type(InternalError),
    "wait": wait_fixed(WAIT),
    "stop": stop_after_delay(PATIENCE),
    "reraise": True,
}


def _time_left(end: float | None, job: Job) -> float:
    """Seconds until `end`. Raises JobTimeout when it is over."""
    if end is None:
        return float("inf")
    if (left := end - time.monotonic()) <= 0:
        raise JobTimeout(f"Job {job.id} is still {job.status}; it goes on.")
    return left


def _file(image: Any) -> Named:
    """A file's name and content. Raises InvalidRequest."""
    if isinstance(image, bytes):
        return "image", image
    if isinstance(image, str | Path):
        path = Path(image)
        try:
            with path.open("rb") as file:
                data = file.read(MAX_FILE + 1)
        except OSError as error:
            raise InvalidRequest(f"{path} can't be read: {error.strerror}.") from error
        if len(data) > MAX_FILE:
            raise InvalidRequest(f"{path} is larger than {MAX_FILE} bytes.")
        return shown(path.name), data
    return "image.png", _png(image)


def _png(image: Any) -> bytes:
    from PIL import Image  # noqa: PLC0415

    from smoothcert.images.arrays import as_picture  # noqa: PLC0415

    picture = image if isinstance(image, Image.Image) else as_picture(image)
    out = BytesIO()
    try:
        picture.save(out, "PNG")
    except OSError as error:
        raise InvalidRequest(f"This image can't be sent as PNG: {error}; convert it to RGB.") from error
    return out.getvalue()


def _fields(model: str | None, parameters: dict[str, Any]) -> dict[str, str]:
    named = {"model": model, **parameters}
    return {name: str(value) for name, value in named.items() if value is not None}


def _get(path: str, **query: Any) -> _Request:
    return _Request("GET", path, {"params": query} if query else {})


def _submission(path: str, images: Sequence[Named], fields: dict[str, str]) -> _Request:
    """A POST with a fresh idempotency key: sent twice, it creates one job."""
    options = {
        "files": [("image", image) for image in images],
        "data": fields,
        "headers": {"Idempotency-Key": secrets.token_urlsafe(16)},
    }
    return _Request("POST", path, options)


def _lost(error: Exception, address: Address) -> Exception:
    if isinstance(error, UnicodeError):
        return InvalidRequest("What is to be sent is no text: it isn't UTF-8.")
    reason = str(error) or type(error).__name__
    kind = InternalError if isinstance(error, httpx2.ConnectError) else ConnectionLost
    return kind(f"{address.url} does not answer ({reason}); `smoothcert up` starts a service.")


def _read(kind: type[Document], answer: httpx2.Response) -> Document:
    try:
        return kind.model_validate_json(answer.content)
    except ValidationError as error:
        raise _foreign(answer) from error


def _read_models(answer: httpx2.Response) -> list[ModelCard]:
    try:
        return TypeAdapter(list[ModelCard]).validate_json(answer.content)
    except ValidationError as error:
        raise _foreign(answer) from error


def _foreign(answer: httpx2.Response) -> InternalError:
    return InternalError(f"{answer.url} is not a SmoothCert service: it answered something else.")


def _checked(answer: httpx2.Response) -> httpx2.Response:
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
