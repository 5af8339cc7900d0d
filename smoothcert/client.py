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
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any, Self

import httpx2
from tenacity import AsyncRetrying, Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from smoothcert import connection as http
from smoothcert.connection import Address, ConnectionLost, Named, Request, RequestRefused, open_client
from smoothcert.errors import InternalError, JobFailed
from smoothcert.schemas.card import ModelCard
from smoothcert.schemas.certificate import Certificate, PublicKeys
from smoothcert.schemas.job import Batch, Job, Status

__all__ = [
    "AsyncClient",
    "AsyncRemoteJob",
    "Client",
    "JobTimeout",
    "RemoteJob",
    "RequestRefused",
    "certificate_of",
]
WAIT = 1  # seconds of long polling; the service answers at once when the job ends
PATIENCE = 30.0  # seconds to retry while the service is away; a restart loses no job


class JobTimeout(InternalError, TimeoutError):
    """The job has not ended in this time; it goes on."""


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
        name, data = http.named_file(image)
        return RemoteJob(self.submit_file(name, data, http.form_fields(model, parameters)), self)

    def submit_file(self, name: str, image: bytes, fields: dict[str, str]) -> Job:
        """POST /certify with a file's name and content, and the form's fields."""
        return http.read(Job, self._submit(http.submission("/certify", [(name, image)], fields)))

    def submit_batch(self, images: Sequence[Named], fields: dict[str, str]) -> Batch:
        """POST /batches with names and contents of files. Retries create no second batch."""
        return http.read(Batch, self._submit(http.submission("/batches", images, fields)))

    def job(self, job_id: str) -> RemoteJob:
        """A job by its id."""
        return RemoteJob(http.read(Job, self._ask(http.get(f"/jobs/{job_id}"))), self)

    def models(self) -> list[ModelCard]:
        """GET /models: the cards of the models of this service."""
        return http.read_models(self._ask(http.get("/models")))

    def read(self, job: Job, wait: float = 0) -> Job:
        """The job as it is now, or once it ends within `wait` seconds; retried while the service is away."""
        return http.read(Job, self._retry(partial(self._ask, http.get(job.links.self, wait=wait))))

    def follow(self, job: Job) -> Iterator[Job]:
        """Snapshots of a job until it has ended; the last one is terminal."""
        return RemoteJob(job, self).events()

    def follow_batch(self, batch: Batch) -> Iterator[Batch]:
        """Snapshots of a batch until all its jobs have ended."""
        yield batch
        while not batch.ended:
            time.sleep(WAIT)
            batch = http.read(Batch, self._retry(partial(self._ask, http.get(batch.links.self))))
            yield batch

    def cancel(self, job: Job) -> Job:
        """POST /jobs/{id}/cancel. The job keeps the radius proved so far."""
        return http.read(Job, self._ask(Request("POST", job.links.cancel, {})))

    def signing_keys(self) -> PublicKeys:
        """GET /keys/signing: the public keys of the service's signatures."""
        return http.read(PublicKeys, self._ask(http.get("/keys/signing")))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _submit(self, request: Request) -> httpx2.Response:
        try:
            return self._ask(request)
        except ConnectionLost:  # the service may have created the job, or be restarting
            return self._retry(partial(self._ask, request))

    def _retry(self, ask: Callable[[], httpx2.Response]) -> httpx2.Response:
        return Retrying(**_AGAIN)(ask)

    def _ask(self, request: Request) -> httpx2.Response:
        try:
            answer = self._http.request(request.method, self._address.place(request.path), **request.options)
        except (httpx2.TransportError, UnicodeError) as error:
            raise http.connection_error(error, self._address) from error
        return http.checked(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class AsyncClient:
    """`Client` for asyncio: the same calls, awaited; an asynchronous context manager."""

    def __init__(self, url: str = "http://127.0.0.1:8000", api_key: str | None = None) -> None:
        self._address = Address(url, api_key)
        self._http = open_client(httpx2.AsyncClient, self._address)

    async def submit(self, image: Any, model: str | None = None, **parameters: Any) -> AsyncRemoteJob:
        """POST /certify: queue one image, given as to `Client.submit`."""
        name, data = await asyncio.to_thread(http.named_file, image)
        request = http.submission("/certify", [(name, data)], http.form_fields(model, parameters))
        try:
            answer = await self._ask(request)
        except ConnectionLost:
            answer = await self._retry(partial(self._ask, request))
        return AsyncRemoteJob(http.read(Job, answer), self)

    async def job(self, job_id: str) -> AsyncRemoteJob:
        """A job by its id."""
        return AsyncRemoteJob(http.read(Job, await self._ask(http.get(f"/jobs/{job_id}"))), self)

    async def models(self) -> list[ModelCard]:
        """GET /models: the cards of the models of this service."""
        return http.read_models(await self._ask(http.get("/models")))

    async def read(self, job: Job, wait: float = 0) -> Job:
        """The job as it is now, or once it ends within `wait` seconds; retried while the service is away."""
        return http.read(Job, await self._retry(partial(self._ask, http.get(job.links.self, wait=wait))))

    async def cancel(self, job: Job) -> Job:
        """POST /jobs/{id}/cancel. The job keeps the radius proved so far."""
        return http.read(Job, await self._ask(Request("POST", job.links.cancel, {})))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _retry(self, ask: Callable[[], Awaitable[httpx2.Response]]) -> httpx2.Response:
        return await AsyncRetrying(**_AGAIN)(ask)

    async def _ask(self, request: Request) -> httpx2.Response:
        try:
            place = self._address.place(request.path)
            answer = await self._http.request(request.method, place, **request.options)
        except (httpx2.TransportError, UnicodeError) as error:
            raise http.connection_error(error, self._address) from error
        return http.checked(answer)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
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
