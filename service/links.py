"""Links as the caller can follow them: below the prefix that a proxy serves us below."""

from typing import Annotated, cast

from fastapi import Depends, Request

from smoothcert.schemas.job import Batch, BatchLinks, Job, Links


async def _prefix(request: Request) -> str:
    return cast(str, request.scope.get("root_path", ""))


PrefixOf = Annotated[str, Depends(_prefix)]


def linked(job: Job, prefix: str) -> Job:
    """The same job; its links lead below the prefix."""
    return job.model_copy(update={"links": Links.of(job.id, prefix)}) if prefix else job


def batch_linked(batch: Batch, prefix: str) -> Batch:
    """The same batch; its links and those of its jobs lead below the prefix."""
    if not prefix:
        return batch
    jobs = [linked(job, prefix) for job in batch.jobs]
    return batch.model_copy(update={"jobs": jobs, "links": BatchLinks.of(batch.id, prefix)})
