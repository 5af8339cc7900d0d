"""Follows a job by polling its record, for `?wait=` and for event streams.

Polling instead of pub/sub: it needs no connection per client, can't lose a notification when the broker
restarts, and costs little.
"""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime

import anyio
from anyio.to_thread import run_sync

from service.state import Service
from smoothcert.errors import BrokerUnavailable
from smoothcert.schemas.job import Job

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
