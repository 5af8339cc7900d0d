"""The Batch as callers see it (docs/api.md): many jobs that were asked for together."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel, Field

from smoothcert.schemas.job import Job, Status


class BatchLinks(BaseModel):
    """Where to ask again."""

    self: str

    @classmethod
    def of(cls, batch_id: str, prefix: str = "") -> "BatchLinks":
        """prefix: the path that a proxy serves the service below."""
        return cls(self=f"{prefix}/batches/{batch_id}")


class Batch(BaseModel):
    """`counts` holds the states its jobs are in; jobs that the store has forgotten are left out."""

    id: str
    created_at: datetime
    ended: bool = Field(description="whether every job has ended")
    counts: dict[Status, int]
    jobs: list[Job] = Field(description="in the order the images were sent")
    links: BatchLinks

    @classmethod
    def of(cls, batch_id: str, created_at: datetime, jobs: Sequence[Job]) -> "Batch":
        return cls(
            id=batch_id,
            created_at=created_at,
            ended=all(job.ended for job in jobs),
            counts=dict(Counter(job.status for job in jobs)),
            jobs=list(jobs),
            links=BatchLinks.of(batch_id),
        )
