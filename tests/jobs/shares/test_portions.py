"""Portions of a shared job: who has one, who may bring its counts."""

import json
import time

import redis

from smoothcert.jobs.jobs import JobStore, Request
from smoothcert.jobs.leases import Claim, Leases
from smoothcert.jobs.shares import Counted, Shares
from smoothcert.schemas.job import Progress
from tests.jobs.holding import look
from tests.jobs.shares.taking import BATCH, SHORT, N, short_lease, take


def test_portions_follow_each_other_in_whole_batches(
    shares: dict[str, Shares], claim: Claim, division: str
) -> None:
    first, second = take(shares["w1"], claim, division), take(shares["w2"], claim, division, 50)
    assert (first.start, first.stop) == (40, 128)
    assert (second.start, second.stop) == (128, 176)


def test_portions_get_smaller_so_that_all_end_together(
    shares: dict[str, Shares], claim: Claim, division: str
) -> None:
    sizes, done = [], None
    while (
        portion := shares["w1"].exchange(claim.job_id, division, want=10_000, batch=BATCH, done=done).portion
    ):
        sizes.append(portion.stop - portion.start)
        done = Counted(portion, "c")
    assert sum(sizes) == N - 40
    assert sizes[0] > N / 3
    assert max(sizes[-3:]) <= BATCH
    assert shares["w2"].exchange(claim.job_id, division, want=100).portion is None


def test_who_comes_third_leaves_a_fair_share_to_the_others(
    shares: dict[str, Shares], claim: Claim, division: str
) -> None:
    begun = [take(shares[worker], claim, division, 10_000) for worker in ("w1", "w2", "w3")]
    left = [N - portion.start for portion in begun]
    sizes = [portion.stop - portion.start for portion in begun]
    assert all(size <= most / (2 * k) + 1 for k, (size, most) in enumerate(zip(sizes, left, strict=True), 1))


def test_a_portions_votes_and_seconds_are_counted_and_those_of_one_that_came_late_are_not(
    store: JobStore, shares: dict[str, Shares], claim: Claim, division: str
) -> None:
    first, second = take(shares["w2"], claim, division), take(shares["w3"], claim, division)
    for worker, portion, seconds in (("w2", first, 0.25), ("w3", first, 9.0), ("w3", second, 1.5)):
        shares[worker].exchange(claim.job_id, division, done=Counted(portion, "c", seconds))
    figures = store.figures()
    assert figures.count("votes", "m") == second.stop - first.start
    chunks = figures.histogram("chunk", "m")
    assert (chunks.buckets[-1], chunks.seconds) == (("+Inf", 2), 1.75)


def test_a_portion_whose_seconds_nobody_said_took_none(
    store: JobStore, shares: dict[str, Shares], claim: Claim, division: str
) -> None:
    portion = take(shares["w2"], claim, division)
    shares["w2"].exchange(claim.job_id, division, done=Counted(portion, "c"))
    assert store.figures().histogram("chunk", "m").seconds == 0.0


def test_who_only_brings_takes_nothing_and_who_names_no_batch_takes_single_votes(
    shares: dict[str, Shares], claim: Claim, division: str
) -> None:
    portion = take(shares["w2"], claim, division)
    assert shares["w2"].exchange(claim.job_id, division, done=Counted(portion, "c")).portion is None
    one = shares["w2"].exchange(claim.job_id, division, want=1).portion
    assert one is not None
    assert (one.start, one.stop) == (portion.stop, portion.stop + 1)


def test_asking_when_the_job_is_no_longer_shared_is_not_bringing_late(
    shares: dict[str, Shares], claim: Claim, division: str
) -> None:
    assert division
    told = shares["w2"].exchange(claim.job_id, "another", want=50, batch=BATCH)
    assert (told.portion, told.late) == (None, False)


@short_lease
def test_counts_are_taken_from_one_ticket_only(
    leases: Leases, shares: dict[str, Shares], claim: Claim, division: str
) -> None:
    late = take(shares["w2"], claim, division)
    time.sleep(SHORT * 1.2)
    leases.renew(claim)
    again = take(shares["w3"], claim, division)
    assert (again.start, again.stop) == (late.start, late.stop)
    refused = shares["w2"].exchange(claim.job_id, division, done=Counted(late, "late"))
    assert refused.late
    assert not shares["w3"].exchange(claim.job_id, division, done=Counted(again, "in time")).late
    assert shares["w3"].exchange(claim.job_id, division, done=Counted(again, "twice")).late
    assert shares["w1"].gather(claim, division) == {40: "in time"}


@short_lease
def test_a_helper_that_works_on_keeps_its_portion(
    leases: Leases, shares: dict[str, Shares], claim: Claim, division: str
) -> None:
    portion = take(shares["w2"], claim, division)
    for _ in range(3):
        time.sleep(SHORT / 2)
        leases.renew(claim)
        shares["w2"].hold(claim.job_id, division)
    assert take(shares["w3"], claim, division).start == portion.stop


@short_lease
def test_the_holder_keeps_its_own_portion_with_its_lease(
    leases: Leases, shares: dict[str, Shares], claim: Claim, division: str
) -> None:
    portion = take(shares["w1"], claim, division)
    for _ in range(3):
        time.sleep(SHORT / 2)
        leases.renew(claim)
    assert take(shares["w3"], claim, division).start == portion.stop


@short_lease
def test_a_portion_given_before_the_clock_was_set_back_is_given_again_after_a_lease(
    client: redis.Redis, leases: Leases, shares: dict[str, Shares], claim: Claim, division: str
) -> None:
    given = take(shares["w2"], claim, division)
    hour = 3_600_000_000
    job, portions = (f"{{smoothcert}}:{part}:{claim.job_id}" for part in ("job", "portions"))
    for name in ("lease", "renewed"):
        client.hincrby(job, name, hour)
    client.zincrby("{smoothcert}:running", hour, claim.job_id)
    said = json.loads(client.hget(portions, str(given.start)) or "")
    client.hset(portions, str(given.start), json.dumps(said | {"expires": str(int(said["expires"]) + hour)}))
    assert leases.overdue() == []
    assert take(shares["w3"], claim, division).start == given.stop, "its taker may be alive"
    time.sleep(SHORT * 1.2)
    leases.renew(claim)
    assert take(shares["w1"], claim, division).start == given.start


def test_a_worker_whose_child_died_gets_its_portion_again(
    shares: dict[str, Shares], claim: Claim, division: str
) -> None:
    dead = take(shares["w2"], claim, division)
    again = take(shares["w2"], claim, division)
    assert (again.start, again.stop) == (dead.start, dead.stop)
    assert shares["w2"].exchange(claim.job_id, division, done=Counted(dead, "late")).late


def test_a_portion_that_loses_every_worker_fails_its_job(
    store: JobStore, leases: Leases, shares: dict[str, Shares], claim: Claim, division: str
) -> None:
    for _ in range(leases.terms.attempts):
        take(shares["w2"], claim, division)
    assert shares["w2"].exchange(claim.job_id, division, want=100).portion is None
    job = look(store, claim.job_id)
    assert job.status == "failed"
    assert job.error is not None
    assert "3 attempts" in job.error.detail


def test_a_portion_put_back_is_not_lost(
    store: JobStore, leases: Leases, shares: dict[str, Shares], claim: Claim, division: str
) -> None:
    for _ in range(leases.terms.attempts + 1):
        portion = take(shares["w2"], claim, division)
        shares["w2"].leave(claim.job_id, portion)
    assert take(shares["w3"], claim, division).start == 40
    assert look(store, claim.job_id).status == "running"


def test_a_helper_goes_when_somebody_waits_and_the_holder_stays(
    store: JobStore, shares: dict[str, Shares], claim: Claim, division: str, long: Request
) -> None:
    portion = take(shares["w2"], claim, division)
    store.submit(long)
    answer = shares["w2"].exchange(claim.job_id, division, want=100, batch=BATCH, done=Counted(portion, "c"))
    assert (answer.portion, answer.late) == (None, False)
    assert take(shares["w1"], claim, division).start == portion.stop


@short_lease
def test_helpers_stop_when_the_holder_is_silent(
    shares: dict[str, Shares], claim: Claim, division: str
) -> None:
    time.sleep(SHORT * 1.2)
    assert shares["w2"].exchange(claim.job_id, division, want=100, batch=BATCH).portion is None


def test_counts_leave_the_record_when_the_state_has_them(
    leases: Leases, shares: dict[str, Shares], claim: Claim, division: str
) -> None:
    portion = take(shares["w2"], claim, division)
    shares["w2"].exchange(claim.job_id, division, done=Counted(portion, "a"))
    leases.progress(claim, "later", Progress(samples=portion.stop, of=N), taken_up=[portion.start])
    assert shares["w1"].gather(claim, division) == {}
