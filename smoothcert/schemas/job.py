"""The Job as callers see it (docs/api.md)."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from smoothcert.schemas.certificate import Certificate
from smoothcert.schemas.parameters import Parameters
from smoothcert.schemas.problem import Problem

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
TERMINAL: frozenset[Status] = frozenset({"succeeded", "failed", "cancelled"})


class Progress(BaseModel):
    """How far a job is. `radius` is already valid: it holds even if the job stops here."""

    samples: int = Field(default=0, description="estimation samples drawn so far")
    of: int = Field(description="estimation samples asked for")
    radius: float | None = Field(default=None, description="l2 radius proved so far")
    predicted_class: int | None = Field(
        default=None, description="class that would be certified; null until chosen"
    )
    counts: list[int] | None = Field(default=None, description="votes per class so far")


class Links(BaseModel):
    """Where to go from here, as paths."""

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
    attempts: int = Field(default=0, description="how often a worker took it up and didn't hand it back")
    links: Links
    version: int = Field(
        0, exclude=True, description="counts the changes of this record; the id of its events"
    )

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL
