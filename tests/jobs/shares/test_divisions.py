"""A job is divided, joined, handed on; it starts again, or ends."""

from datetime import UTC, datetime

import pytest
import redis

from smoothcert.jobs.jobs import JobStore, Request
from smoothcert.jobs.leases import Claim, Leases, LostLease
from smoothcert.jobs.shares import Counted, Shares
from smoothcert.jobs.workers import WorkerInfo
from smoothcert.schemas.job import Progress
from tests.jobs.holding import ENGINE, certificate, claimed
from tests.jobs.shares.taking import BATCH, N, take


def test_a_job_is_divided_when_others_are_idle(shares: dict[str, Shares], claim: Claim) -> None:
    assert shares["w1"].divide(claim, 40).idle == 2


def test_a_job_is_not_divided_when_nobody_could_come(
    store: JobStore, leases: Leases, shares: dict[str, Shares], claim: Claim, long: Request
) -> None:
    claimed(leases, store.submit(long).job_id, "w2")
    leases.leave("w3")
    assert shares["w1"].divide(claim, 40).division is None
    assert shares["w2"].join(claim.job_id) is None


def test_a_job_is_not_divided_beyond_its_last_report(shares: dict[str, Shares], claim: Claim) -> None:
    assert shares["w1"].divide(claim, 56).division is None


def test_who_helps_already_is_not_idle(shares: dict[str, Shares], claim: Claim, division: str) -> None:
    take(shares["w2"], claim, division)
    assert shares["w1"].divide(claim, 40).idle == 1


def test_workers_of_another_platform_or_model_are_no_help(
    client: redis.Redis, leases: Leases, shares: dict[str, Shares], claim: Claim
) -> None:
    Shares(client, "w2", "y").announce()
    leases.beat(WorkerInfo(id="w3", host="h", models=["other"], started_at=datetime.now(UTC)), ttl=60)
    assert shares["w1"].divide(claim, 40).idle == 0


def test_a_helper_learns_all_that_decides_a_vote(
    client: redis.Redis, shares: dict[str, Shares], claim: Claim, division: str
) -> None:
    joined = shares["w2"].join(claim.job_id)
    assert joined is not None
    assert (joined.division, joined.seed, joined.engine, joined.weights) == (
        division,
        claim.seed,
        ENGINE,
        "weights",
    )
    assert Shares(client, "w2", "y").join(claim.job_id) is None, "another platform is another classifier"


def test_the_next_holder_finds_what_came_in(
    leases: Leases, shares: dict[str, Shares], claim: Claim, division: str
) -> None:
    first, second = take(shares["w2"], claim, division), take(shares["w3"], claim, division)
    shares["w3"].exchange(claim.job_id, division, done=Counted(second, "b"))
    leases.hand_back(claim)
    shares["w2"].exchange(claim.job_id, division, done=Counted(first, "a"))
    again = claimed(leases, claim.job_id, "w3")
    assert (again.division, again.state) == (division, "40")
    assert shares["w3"].gather(again, division) == {first.start: "a", second.start: "b"}
    with pytest.raises(LostLease):
        shares["w1"].gather(claim, division)
    with pytest.raises(LostLease):
        shares["w1"].divide(claim, 40)
    assert take(shares["w3"], again, division).start == second.stop


def test_who_starts_a_job_again_begins_without_votes_a_set_up_or_helpers(
    leases: Leases, shares: dict[str, Shares], claim: Claim, division: str
) -> None:
    leases.hand_back(claim)
    taken = claimed(leases, claim.job_id, "w3")
    assert (taken.state, taken.engine, taken.weights, taken.division) == ("40", ENGINE, "weights", division)
    anew = leases.restart(taken)
    assert (anew.state, anew.engine, anew.weights, anew.division) == (None, None, None, None)
    assert (anew.job_id, anew.fence, anew.seed) == (taken.job_id, taken.fence, taken.seed)


def test_nobody_brings_votes_of_another_set_up_to_a_job_that_started_again(
    leases: Leases, shares: dict[str, Shares], claim: Claim, division: str
) -> None:
    old = take(shares["w2"], claim, division)
    again = leases.restart(claim)
    leases.pin(again, ENGINE, "x", "other weights")
    leases.progress(again, "state", Progress(samples=0, of=N))
    anew = shares["w1"].divide(again, 0).division
    assert anew is not None
    answer = shares["w2"].exchange(claim.job_id, division, want=100, batch=BATCH, done=Counted(old, "old"))
    assert (answer.portion, answer.late) == (None, True)
    assert shares["w2"].exchange(claim.job_id, anew, done=Counted(old, "old")).late
    assert shares["w1"].gather(again, anew) == {}
    with pytest.raises(LostLease):
        shares["w2"].hold(claim.job_id, division)


def test_numbers_are_never_given_twice_by_a_broker_that_lost_its_last_writes(
    client: redis.Redis, shares: dict[str, Shares], claim: Claim, division: str
) -> None:
    job, portions = f"{{smoothcert}}:job:{claim.job_id}", f"{{smoothcert}}:portions:{claim.job_id}"
    before = client.dump(job)
    old = take(shares["w2"], claim, division)
    client.restore(job, 0, before, replace=True)
    client.delete(portions)
    anew = take(shares["w3"], claim, division, want=50)
    assert (anew.start, anew.ticket != old.ticket) == (old.start, True)
    assert shares["w2"].exchange(claim.job_id, division, done=Counted(old, "of another length")).late
    client.hdel(job, "division", "next", "tickets")
    assert shares["w1"].divide(claim, 40).division != division


def test_a_division_that_its_holder_never_heard_of_is_over_once_it_has_gone_on_alone(
    leases: Leases, shares: dict[str, Shares], claim: Claim, division: str
) -> None:
    assert shares["w1"].divide(claim, 72).division is None, "not reported yet"
    assert shares["w1"].gather(claim, division) is None
    anew = shares["w1"].divide(claim, 40).division
    assert anew is not None
    leases.progress(claim, "72", Progress(samples=72, of=N))
    assert shares["w2"].exchange(claim.job_id, anew, want=100, batch=BATCH).portion is None
    again = shares["w1"].divide(claim, 72).division
    assert again is not None
    assert take(shares["w2"], claim, again).start == 72


def test_a_job_that_ended_leaves_nothing_to_share(
    leases: Leases, client: redis.Redis, shares: dict[str, Shares], claim: Claim, division: str
) -> None:
    portion = take(shares["w2"], claim, division)
    leases.finish(claim, certificate(claim.seed), Progress(samples=N, of=N))
    assert shares["w2"].exchange(claim.job_id, division, done=Counted(portion, "a")).late
    assert shares["w2"].join(claim.job_id) is None
    assert not client.keys("*portions*")
    assert not client.keys("*counts*")


def test_what_is_out_and_what_came_in_lives_as_long_as_its_job_is_held(
    leases: Leases, client: redis.Redis, shares: dict[str, Shares], claim: Claim, division: str
) -> None:
    portion = take(shares["w2"], claim, division)
    shares["w2"].exchange(claim.job_id, division, want=100, batch=BATCH, done=Counted(portion, "a"))
    parts = [f"{{smoothcert}}:{part}:{claim.job_id}" for part in ("portions", "counts")]
    for part in parts:
        assert client.expire(part, 1)
    leases.renew(claim)
    assert all(client.ttl(part) > 1 for part in parts)


def test_every_key_of_a_divided_job_expires(
    leases: Leases, client: redis.Redis, shares: dict[str, Shares], claim: Claim, division: str
) -> None:
    portion = take(shares["w2"], claim, division)
    shares["w2"].exchange(claim.job_id, division, want=100, batch=BATCH, done=Counted(portion, "a"))
    keys = set(client.keys()) - {b"{smoothcert}:figures"}
    assert {b"{smoothcert}:portions:" + claim.job_id.encode()} < keys
    assert all(client.ttl(key) > 0 for key in keys)
