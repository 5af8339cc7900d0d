"""From a record's fields, as `view.lua` reads them, to the Job that callers see."""

from datetime import UTC, datetime
from typing import Any

from certification.contract.certificate import Certificate
from certification.contract.job import TERMINAL, Job, Links, Progress
from certification.contract.parameters import Parameters
from certification.contract.problem import Problem


def moment(microseconds: bytes | None) -> datetime | None:
    """A time of the broker's clock, in UTC."""
    if microseconds is None:
        return None
    return datetime.fromtimestamp(int(microseconds) / 1e6, UTC)


def job_of(job_id: str, row: list[Any]) -> Job:
    """One row of `view.lua`.

    The certificate, and with it the seed, stays hidden until the job has ended: a caller who knew the noise
    could choose the image against it.
    """
    status, model, parameters, progress, certificate, error, created, started, finished = row[:9]
    attempts, version, _owner, position = row[9:13]
    created_at = moment(created)
    assert created_at is not None
    ended = status.decode() in TERMINAL
    return Job(
        id=job_id,
        status=status.decode(),
        model=model.decode(),
        parameters=Parameters.model_validate_json(parameters),
        queue_position=position,
        progress=Progress.model_validate_json(progress),
        certificate=Certificate.model_validate_json(certificate) if certificate and ended else None,
        error=Problem.model_validate_json(error) if error else None,
        created_at=created_at,
        started_at=moment(started),
        finished_at=moment(finished),
        attempts=int(attempts),
        links=Links.of(job_id),
        version=int(version),
    )
