"""What a record's fields say, as callers see it."""

from datetime import UTC, datetime

from smoothcert.jobs.keys import moment
from smoothcert.jobs.store import JobStore
from smoothcert.jobs.votes import VoteStore
from tests.jobs.tasks import HALF, begun, brought, certificate, look


def test_times_are_told_to_the_microsecond() -> None:
    assert moment(b"1790000000123456") == datetime(2026, 9, 21, 14, 13, 20, 123_456, UTC)
    assert moment(None) is None


def test_every_change_of_a_record_has_a_higher_number(store: JobStore, votes: VoteStore, job_id: str) -> None:
    """A reader is shown a change by it."""
    seen = [look(store, job_id).version]
    task = begun(votes, job_id)
    seen.append(look(store, job_id).version)
    brought(votes, task, 0, folded=1)
    seen.append(look(store, job_id).version)
    votes.finish(task, certificate(task.seed), HALF)
    seen.append(look(store, job_id).version)
    assert seen == sorted(set(seen))
