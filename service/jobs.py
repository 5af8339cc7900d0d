"""POST /certify, and the routes of the job that it creates.

`?wait=` and event streams poll the record. Polling instead of pub/sub: it needs no connection per client,
can't lose a notification when the broker restarts, and costs little.
"""

import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel

from service.auth import CallerOf
from service.errors import NotFound, NotYet
from service.middleware import PrefixOf, RequestId, linked
from service.openapi import CANCELLED, CERTIFICATE, LIST, QUEUED, SUCCEEDED, problems, shows
from service.state import Service, ServiceOf
from service.submission import BINARY, OneImage, Upload, described, submit
from smoothcert.errors import BrokerUnavailable
from smoothcert.images.decode import to_png
from smoothcert.schemas.certificate import Certificate
from smoothcert.schemas.job import Job

RETRY_AFTER = "1"  # seconds until the first poll of a new job is useful
PNG = BINARY | {"contentMediaType": "image/png"}
MAX_WAIT = 3600  # seconds that a caller may ask to wait; the service's own limit is lower
SHOWN = 50  # jobs per page of the list, by default

router = APIRouter(tags=["jobs"])


class JobList(BaseModel):
    """Some of the caller's jobs, newest first; `next` is the path of those after them."""

    jobs: list[Job]
    next: str | None = None


def _find(job_id: str, service: ServiceOf, caller: CallerOf) -> Job:
    job = service.store.job(job_id, caller.name)
    if job is None:
        raise NotFound("There is no such job: the id is unknown, or the job ended some time ago.")
    return job


Found = Annotated[Job, Depends(_find)]
Known = problems(401, 404, 503)


@router.post(
    "/certify",
    status_code=202,
    summary="Certify an image",
    responses=problems(400, 401, 403, 413, 415, 422, 429, 503) | shows(202, QUEUED) | shows(200, SUCCEEDED),
    openapi_extra=described(),
)
async def certify(
    *,
    sent: OneImage,
    response: Response,
    service: ServiceOf,
    prefix: PrefixOf,
    caller: CallerOf,
    request_id: RequestId,
    idempotency_key: Annotated[str | None, Header(max_length=255)] = None,
    prefer: Annotated[str | None, Header(max_length=1000, description="wait=SECONDS (RFC 7240)")] = None,
) -> Job:
    """Queues the image and returns its job.

    Send the image in a form (`multipart/form-data`), with the parameters as its other fields. Or send it as
    the body (`Content-Type: image/png` or another image type), with the parameters in the query. A form with
    query parameters is refused. The same `Idempotency-Key` with the same body returns the same job.

    With `Prefer: wait=SECONDS` the answer is the ended job (200) if it ends in time, else the job as it
    is (202).
    """
    data, parameters = await run_sync(sent.images[0].read), sent.fields
    upload = Upload(data, parameters.question(), parameters.model, caller, request_id, idempotency_key)
    job = await run_sync(submit, upload, service)
    seconds = _preferred_wait(prefer)
    if seconds is not None:
        job = await when_ended(service, job, min(seconds, service.settings.max_wait))
        response.headers["Preference-Applied"] = f"wait={seconds}"
    if seconds is not None and job.ended:
        response.status_code = 200
    else:
        response.headers["Retry-After"] = RETRY_AFTER
    job = linked(job, prefix)
    response.headers["Location"] = job.links.self
    return job


def _preferred_wait(prefer: str | None) -> int | None:
    """The seconds of `wait` in a Prefer header (RFC 7240); None without, or where it is malformed."""
    for preference in (prefer or "").split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        seconds = value.strip().strip('"')
        if name.strip().lower() == "wait" and seconds.isascii() and seconds.isdecimal():
            return min(int(seconds[:10]), MAX_WAIT)
    return None


@router.get("/jobs", summary="Your jobs, newest first", responses=problems(401, 422, 503) | shows(200, LIST))
def list_jobs(
    service: ServiceOf,
    caller: CallerOf,
    prefix: PrefixOf,
    cursor: Annotated[
        str | None, Query(pattern="^[0-9]{1,20}$", description="from `next` of the previous page")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = SHOWN,
) -> JobList:
    """One page of jobs."""
    page = service.store.page(caller.name, cursor, limit)
    next_path = page.cursor and f"{prefix}/jobs?cursor={page.cursor}&limit={limit}"
    return JobList(jobs=[linked(job, prefix) for job in page.jobs], next=next_path)


@router.get(
    "/jobs/{job_id}", summary="One job", responses=problems(401, 404, 422, 503) | shows(200, SUCCEEDED)
)
async def read_job(
    job: Found,
    service: ServiceOf,
    prefix: PrefixOf,
    wait: Annotated[float, Query(ge=0, le=3600, description="seconds to wait for the job to end")] = 0,
) -> Job:
    """The job as it is; with `wait`, as soon as it has ended or the time is over."""
    return linked(await when_ended(service, job, min(wait, service.settings.max_wait)), prefix)


async def _stream_slot(service: ServiceOf) -> AsyncIterator[None]:
    """Counts an event stream towards the concurrency limit. Raises Unavailable."""
    with service.concurrency.take():
        yield


@router.get(
    "/jobs/{job_id}/events",
    summary="Follow a job",
    dependencies=[Depends(_stream_slot)],
    response_class=EventSourceResponse,
    responses=Known,
)
async def follow_job(
    job: Found,
    service: ServiceOf,
    prefix: PrefixOf,
    last_event_id: Annotated[str | None, Header()] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events named `job`, each a snapshot; the last one is terminal.

    A comment every 15 s keeps the connection open. `Last-Event-ID` leaves out a snapshot already seen.
    """
    if job.ended or last_event_id != str(job.version):
        yield _event(linked(job, prefix))
    async for snapshot in snapshots(service, job, math.inf):
        yield _event(linked(snapshot, prefix))


def _event(job: Job) -> ServerSentEvent:
    return ServerSentEvent(raw_data=job.model_dump_json(), event="job", id=str(job.version), retry=1000)


@router.post(
    "/jobs/{job_id}/cancel", summary="Stop a job", responses=Known | problems(403) | shows(200, CANCELLED)
)
def cancel_job(job: Found, service: ServiceOf, caller: CallerOf, prefix: PrefixOf) -> Job:
    """Ends the job now; it keeps the best certificate it has reached. A job that has ended stays as it is."""
    service.store.cancel(job.id)
    return linked(_find(job.id, service, caller), prefix)


@router.get(
    "/jobs/{job_id}/certificate",
    summary="Download the certificate",
    responses=problems(401, 404, 409, 503) | shows(200, CERTIFICATE),
)
def read_certificate(job: Found, request: Request, response: Response) -> Certificate:
    """The certificate document as a file: 409 while the job runs, 404 when it ended without one."""
    if job.certificate is None:
        raise NotFound("This job ended without a certificate.") if job.ended else NotYet
    response.headers["Content-Disposition"] = f'attachment; filename="certificate-{job.id}.json"'
    return job.certificate


@router.get(
    "/jobs/{job_id}/input.png",
    summary="The certified pixels",
    response_class=Response,
    responses=Known | {200: {"content": {"image/png": {"schema": PNG}}}},
)
def read_input(job: Found, service: ServiceOf) -> Response:
    """The exact pixels the certificate is about, after decoding and preprocessing."""
    image = service.store.image(job.id)
    if image is None:
        raise NotFound("The image of this job is no longer kept.")
    return Response(to_png(image), media_type="image/png")


POLL_LEAST, POLL_MOST = 0.01, 0.25  # seconds between two polls
POLL_SHARE = 0.02  # of the time waited so far; bounds the delay until a job's end is noticed
POLL_EACH = 0.004  # seconds per waiting client; bounds the rate of all polls together


def poll_intervals(
    timeout: float, waiters: Callable[[], int] = lambda: 1, due: Callable[[], float | None] = lambda: None
) -> Iterator[float]:
    """Seconds to sleep between polls, until `timeout` seconds are over. waiters: the number of clients now.

    due: the estimated end of the job (`time.monotonic`), or None. With an estimate, the interval is half the
    time to or since it; without one, a share of the time waited.
    """
    start = time.monotonic()
    while (waited := (now := time.monotonic()) - start) < timeout:
        end = due()
        wanted = POLL_SHARE * waited if end is None else abs(end - now) / 2
        interval = min(max(wanted, POLL_LEAST), POLL_MOST)
        yield min(max(interval, POLL_EACH * waiters()), timeout - waited)


async def snapshots(service: Service, job: Job, seconds: float) -> AsyncIterator[Job]:
    """Every change of a job after `job`; the last one is terminal unless `seconds` are over.

    Waits while the broker is unavailable. Ends early if the record expires or the server stops.
    """
    if job.ended:
        return
    due = due_at(job)
    for pause in poll_intervals(seconds, lambda: service.concurrency.taken, lambda: due):  # noqa: B023  (reads the latest `due`)
        await anyio.sleep(pause)
        with suppress(BrokerUnavailable):
            latest = await run_sync(service.store.job, job.id)
            if latest is None or service.closing.is_set():
                return
            if (latest.version, latest.queue_position) != (job.version, job.queue_position):
                job, due = latest, due_at(latest)
                yield job
            if job.ended:
                return


def due_at(job: Job) -> float | None:
    """Estimated end of the job (`time.monotonic`) at its speed so far; None if there is no estimate."""
    parameters, progress = job.parameters, job.progress
    may_stop_early = parameters.target_radius is not None or parameters.tolerance is not None
    if may_stop_early or job.status != "running" or job.started_at is None or not progress.samples:
        return None
    elapsed = max(0.0, (datetime.now(UTC) - job.started_at).total_seconds())
    return time.monotonic() + elapsed * (progress.of - progress.samples) / progress.samples


async def when_ended(service: Service, job: Job, seconds: float) -> Job:
    """The job once it has ended, or as it is after `seconds`. Raises Unavailable if too many clients wait."""
    if job.ended or not seconds:
        return job
    latest = job
    with service.concurrency.take():
        async for latest in snapshots(service, job, seconds):  # noqa: B007  (the last one is the answer)
            pass
    return latest
