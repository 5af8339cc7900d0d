"""Three workers on a job of N votes, and how one takes a portion."""

import pytest

from smoothcert.jobs.leases import Claim
from smoothcert.jobs.shares import Portion, Shares

N = 1000
BATCH = 16
WORKERS = ("w1", "w2", "w3")
SHORT = 0.3  # seconds; long enough to act within on a busy machine, short enough to wait for
short_lease = pytest.mark.parametrize("lease", [SHORT])


def take(shares: Shares, claim: Claim, division: str, want: int = 100) -> Portion:
    portion = shares.exchange(claim.job_id, division, want=want, batch=BATCH).portion
    assert portion is not None
    return portion
