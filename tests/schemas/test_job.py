"""A job as its JSON tells of it."""

from datetime import UTC, datetime
from typing import get_args

import pytest
from pydantic import BaseModel

from smoothcert.schemas.job import Job, Links, Progress, Status
from smoothcert.schemas.parameters import Parameters

BEGUN = Progress(samples=50, of=100_000, radius=0.1, predicted_class=1, counts=[10, 40])
NUMBERS = {int, float, list[int]}


def a_job(status: Status = "queued", progress: Progress = BEGUN, version: int = 0) -> Job:
    return Job(
        id="any",
        status=status,
        model="m",
        parameters=Parameters(sigma=0.5),
        progress=progress,
        created_at=datetime.now(UTC),
        links=Links.of("any"),
        version=version,
    )


def test_progress_tells_what_is_proved_and_what_was_counted() -> None:
    assert BEGUN.model_dump() == {
        "samples": 50,
        "of": 100_000,
        "radius": 0.1,
        "predicted_class": 1,
        "counts": [10, 40],
        "forecast": None,
    }


def test_a_job_reads_back_from_its_json_but_for_its_records_version() -> None:
    job = a_job(version=7)
    again = Job.model_validate_json(job.model_dump_json())
    assert (job.version, again.version) == (7, 0)
    assert again == job.model_copy(update={"version": 0})


def test_what_has_not_happened_yet_need_not_be_said() -> None:
    job = a_job()
    assert (job.queue_position, job.certificate, job.error, job.started_at, job.finished_at) == (None,) * 5
    assert job.attempts == 0


@pytest.mark.parametrize("status", get_args(Status))
def test_a_job_has_ended_unless_it_waits_or_runs(status: Status) -> None:
    assert a_job(status).ended is (status not in {"queued", "running"})


@pytest.mark.parametrize("model", [Progress, Job])
def test_every_number_says_what_it_counts(model: type[BaseModel]) -> None:
    fields = model.model_fields
    told = {
        name for name, field in fields.items() if NUMBERS & {field.annotation, *get_args(field.annotation)}
    }
    assert len(told) >= 3
    assert {name for name in told if not fields[name].description} == set()
