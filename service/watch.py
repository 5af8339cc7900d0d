"""Following a job: `?wait=` and the event stream are the same looks at the same record."""

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
    """Every change of a job after the one given; the last is terminal unless `seconds` are over.

    A broker that goes away is waited for. A record that expires ends the iteration, a server that stops too.
    """
    if job.ended:
        return
    due = due_at(job)
    for pause in poll_intervals(seconds, lambda: service.concurrency.taken, lambda: due):  # noqa: B023  (asked at once)
        await anyio.sleep(pause)
        with suppress(BrokerUnavailable):
            now = await run_sync(service.store.job, job.id)
            if now is None or service.closing.is_set():
                return
            if (now.version, now.queue_position) != (job.version, job.queue_position):
                job, due = now, due_at(now)
                yield job
            if job.ended:
                return


def due_at(job: Job) -> float | None:
    """When all its votes should be in (`time.monotonic`), at the pace so far; None where nobody can tell."""
    asked, progress = job.parameters, job.progress
    may_stop_early = asked.target_radius is not None or asked.tolerance is not None
    if may_stop_early or job.status != "running" or job.started_at is None or not progress.samples:
        return None
    took = max(0.0, (datetime.now(UTC) - job.started_at).total_seconds())
    return time.monotonic() + took * (progress.of - progress.samples) / progress.samples


async def when_ended(service: Service, job: Job, seconds: float) -> Job:
    """The job once it has ended, or as it is after `seconds`. Raises Unavailable where too many wait."""
    if job.ended or not seconds:
        return job
    latest = job
    with service.concurrency.take():
        async for latest in snapshots(service, job, seconds):  # noqa: B007  (the last one is the answer)
            pass
    return latest
