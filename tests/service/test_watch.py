"""How often a job that somebody waits for is looked at."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from service.jobs import POLL_LEAST, POLL_MOST, due_at, poll_intervals
from smoothcert.schemas.job import Job, Progress
from smoothcert.schemas.parameters import Parameters


def running(samples: int = 25_000, seconds: float = 1.0, **changes: object) -> Job:
    """A job of 100 000 votes that has run for some seconds."""
    fields: dict[str, object] = {
        "status": "running",
        "started_at": datetime.now(UTC) - timedelta(seconds=seconds),
        "progress": Progress(samples=samples, of=100_000, radius=0.5, predicted_class=7, counts=[samples]),
        "parameters": Parameters(sigma=0.5, n=100_000),
    }
    return Job.model_construct(**(fields | changes))


def test_a_job_is_expected_to_end_at_the_pace_so_far() -> None:
    due = due_at(running())
    assert due is not None
    assert due - time.monotonic() == pytest.approx(3.0, abs=0.1)


@pytest.mark.parametrize(
    "job",
    [
        running(samples=0),
        running(status="queued"),
        running(started_at=None),
        running(parameters=Parameters(sigma=0.5, n=100_000, target_radius=0.5)),
        running(parameters=Parameters(sigma=0.5, n=100_000, tolerance=0.1)),
    ],
    ids=["no votes yet", "queued", "not started", "may stop at its target", "may stop at its tolerance"],
)
def test_there_is_no_estimate_of_the_end(job: Job) -> None:
    assert due_at(job) is None


def test_a_clock_that_is_behind_the_brokers_expects_the_end_at_once() -> None:
    due = due_at(running(seconds=-5))
    assert due is not None
    assert due <= time.monotonic()


def test_looks_crowd_around_the_expected_end_and_thin_out_before_and_after() -> None:
    def first(end: float) -> float:
        return next(poll_intervals(10, due=lambda: time.monotonic() + end))

    assert [first(end) for end in (3, -3)] == [POLL_MOST, POLL_MOST]
    assert first(0.1) == pytest.approx(0.05, abs=0.01)
    assert first(0) == POLL_LEAST
