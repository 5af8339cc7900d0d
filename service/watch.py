"""Following a job: `?wait=` and the event stream are the same looks at the same record."""

from collections.abc import AsyncIterator
from contextlib import suppress

import anyio
from anyio.to_thread import run_sync

from certification.contract.job import Job
from certification.contract.store.jobs import JobStore, pauses
from certification.errors import BrokerUnavailable


async def snapshots(store: JobStore, job: Job, seconds: float) -> AsyncIterator[Job]:
    """Every change of a job after the one given; the last is terminal unless `seconds` are over.

    A broker that goes away is waited for; a record that expires ends the iteration.
    """
    if job.ended:
        return
    for pause in pauses(seconds):
        await anyio.sleep(pause)
        with suppress(BrokerUnavailable):
            now = await run_sync(store.job, job.id)
            if now is None:
                return
            if (now.version, now.queue_position) != (job.version, job.queue_position):
                job = now
                yield job
            if job.ended:
                return


async def when_ended(store: JobStore, job: Job, seconds: float) -> Job:
    """The job once it has ended, or as it is after `seconds`."""
    latest = job
    async for latest in snapshots(store, job, seconds):  # noqa: B007  (the last one is the answer)
        pass
    return latest
