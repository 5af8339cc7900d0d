"""The HTTP documents of jobs, batches and problems (docs/api.md)."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from smoothcert.progress import duration
from smoothcert.schemas.certificate import Certificate
from smoothcert.schemas.parameters import Parameters

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
TERMINAL: frozenset[Status] = frozenset({"succeeded", "failed", "cancelled"})


class FieldProblem(BaseModel):
    """One invalid request field. detail: what is allowed; never the value that was sent."""

    field: str
    detail: str


class Problem(BaseModel):
    """RFC 9457 `application/problem+json`."""

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str | None = None
    errors: list[FieldProblem] | None = None


class Forecast(BaseModel):
    """What to expect at the end of a job, estimated from its votes so far. Nothing of it is proved."""

    radius: float | None = Field(
        description="l2 radius; 0: probably an abstention; null if the procedure proves none"
    )
    votes: int = Field(description="estimation samples drawn by then")
    seconds: float = Field(description="of drawing in all, by one worker at its speed so far")

    @property
    def in_words(self) -> str:
        """For example `about radius 1.20 with 100 000 votes, 6 s`."""
        grouped = f"{self.votes:,}".replace(",", " ")
        work = f"{grouped} votes, {duration(max(1.0, self.seconds))}"
        if self.radius is None:
            return f"about {work}"
        return f"about radius {self.radius:.2f} with {work}" if self.radius else f"an abstention with {work}"


class Progress(BaseModel):
    """How far a job is. `radius` is already proved: it holds even if the job stops here."""

    samples: int = Field(default=0, description="estimation samples drawn so far")
    of: int = Field(description="estimation samples asked for")
    radius: float | None = Field(default=None, description="l2 radius proved so far")
    predicted_class: int | None = Field(
        default=None, description="class that would be certified; null until chosen"
    )
    counts: list[int] | None = Field(default=None, description="votes per class so far")
    forecast: Forecast | None = Field(
        default=None, description="what to expect; null before the first votes and at the end"
    )


class Links(BaseModel):
    """Paths of a job's resources."""

    self: str
    events: str
    cancel: str
    certificate: str
    input: str

    @classmethod
    def of(cls, job_id: str, prefix: str = "") -> "Links":
        """prefix: the path that a proxy serves the service below."""
        here = f"{prefix}/jobs/{job_id}"
        return cls(
            self=here,
            events=f"{here}/events",
            cancel=f"{here}/cancel",
            certificate=f"{here}/certificate",
            input=f"{here}/input.png",
        )


class Job(BaseModel):
    """One certification, from submission to its terminal state."""

    id: str
    status: Status
    model: str
    parameters: Parameters
    queue_position: int | None = Field(default=None, description="jobs ahead of this one; null once it runs")
    progress: Progress
    certificate: Certificate | None = None
    error: Problem | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    attempts: int = Field(default=0, description="tasks that were lost with their worker, and sent again")
    links: Links
    version: int = Field(
        0, exclude=True, description="counts the changes of this record; the id of its events"
    )

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL


class BatchLinks(BaseModel):
    """Paths of a batch's resources."""

    self: str

    @classmethod
    def of(cls, batch_id: str, prefix: str = "") -> "BatchLinks":
        """prefix: the path that a proxy serves the service below."""
        return cls(self=f"{prefix}/batches/{batch_id}")


class Batch(BaseModel):
    """Jobs submitted together. counts: jobs by status. Jobs that have expired are left out."""

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
