"""Settings that contradict each other stop the start."""

import pytest
from pydantic import ValidationError

from worker.settings import Settings


def test_jobs_that_nobody_serves_are_given_up_before_their_records_expire() -> None:
    with pytest.raises(
        ValidationError, match=r"SMOOTHCERT_UNSERVED \(60 s\) must be less than SMOOTHCERT_RECORD_TTL"
    ):
        Settings(unserved=60, record_ttl=60)
    assert Settings(unserved=59, record_ttl=60).policy.unserved == 59
