"""Follows a job by polling its record, for `?wait=` and for event streams."""

import time
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime

import anyio
from anyio.to_thread import run_sync

from service.polling import poll_intervals
from service.state import Service
from smoothcert.errors import BrokerUnavailable
from smoothcert.schemas.job import Job


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
