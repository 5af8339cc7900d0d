"""Adds the proxy's path prefix to the links in responses."""

from typing import Annotated, cast

from fastapi import Depends, Request

from smoothcert.schemas.job import Batch, BatchLinks, Job, Links


async def _prefix(request: Request) -> str:
    return cast(str, request.scope.get("root_path", ""))


PrefixOf = Annotated[str, Depends(_prefix)]


def linked(job: Job, prefix: str) -> Job:
    """The job, with the prefix in its links."""
    return job.model_copy(update={"links": Links.of(job.id, prefix)}) if prefix else job


def batch_linked(batch: Batch, prefix: str) -> Batch:
    """The batch, with the prefix in its links and those of its jobs."""
    if not prefix:
        return batch
    jobs = [linked(job, prefix) for job in batch.jobs]
    return batch.model_copy(update={"jobs": jobs, "links": BatchLinks.of(batch.id, prefix)})
