"""What a record's fields say, as callers see it."""

from datetime import UTC, datetime

from smoothcert.jobs.jobs import JobStore
from smoothcert.jobs.leases import Leases
from smoothcert.jobs.record import moment
from tests.jobs.holding import HALF, certificate, claimed, look


def test_times_are_told_to_the_microsecond() -> None:
    assert moment(b"1790000000123456") == datetime(2026, 9, 21, 14, 13, 20, 123_456, UTC)
    assert moment(None) is None


def test_every_change_of_a_record_has_a_higher_number(store: JobStore, leases: Leases, job_id: str) -> None:
    """Who watches a job is told of a change by it."""
    seen = [look(store, job_id).version]
    claim = claimed(leases, job_id)
    seen.append(look(store, job_id).version)
    leases.progress(claim, "state", HALF)
    seen.append(look(store, job_id).version)
    leases.finish(claim, certificate(claim.seed), HALF)
    seen.append(look(store, job_id).version)
    assert seen == sorted(set(seen))
