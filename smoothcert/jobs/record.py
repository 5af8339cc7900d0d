"""Converts the fields of a record, as `view.lua` returns them, to the Job that callers see."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self, cast

from smoothcert.schemas.certificate import Certificate
from smoothcert.schemas.job import TERMINAL, Job, Links, Problem, Progress, Status
from smoothcert.schemas.parameters import Parameters


class Row(NamedTuple):
    """The fields that `row_of` in `_common.lua` returns, in order. Times: microseconds, broker's clock."""

    status: bytes
    model: bytes
    parameters: bytes
    progress: bytes
    certificate: bytes | None
    error: bytes | None
    created: bytes
    started: bytes | None
    finished: bytes | None
    attempts: bytes
    version: bytes
    owner: bytes
    position: int | None

    @classmethod
    def of(cls, told: Sequence[Any]) -> Self | None:
        """From one row of the reply; None if there is no such job."""
        return cls(*told) if told else None


def moment(microseconds: bytes | None) -> datetime | None:
    """A timestamp of the broker's clock, in UTC."""
    if microseconds is None:
        return None
    return datetime.fromtimestamp(int(microseconds) / 1e6, UTC)


def job_of(job_id: str, row: Row) -> Job:
    """The job of a row.

    The certificate contains the seed, so it stays hidden until the job has ended: a caller who knows the
    noise could choose the image to fit it.
    """
    status = cast(Status, row.status.decode())
    ended = status in TERMINAL
    certificate = row.certificate if ended else None
    progress = Progress.model_validate_json(row.progress)
    created_at = moment(row.created)
    assert created_at is not None
    return Job(
        id=job_id,
        status=status,
        model=row.model.decode(),
        parameters=Parameters.model_validate_json(row.parameters),
        queue_position=row.position,
        progress=progress.model_copy(update={"forecast": None}) if ended else progress,
        certificate=Certificate.model_validate_json(certificate) if certificate else None,
        error=Problem.model_validate_json(row.error) if row.error else None,
        created_at=created_at,
        started_at=moment(row.started),
        finished_at=moment(row.finished),
        attempts=int(row.attempts),
        links=Links.of(job_id),
        version=int(row.version),
    )
