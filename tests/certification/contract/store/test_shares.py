"""Several workers on one job: whatever they do and in whatever order, each vote is counted once."""

import random
import time
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest
import redis

from certification.contract.job import Progress
from certification.contract.parameters import Parameters
from certification.contract.store.jobs import JobStore, Request
from certification.contract.store.leases import Claim, Leases, LostLease, Terms
from certification.contract.store.shares import Counted, Portion, Shares
from certification.contract.store.workers import WorkerInfo
from tests.certification.contract.store.test_leases import ENGINE, certificate, claimed, look

N = 1000
BATCH = 16
WORKERS = ("w1", "w2", "w3")


SHORT = 0.3  # seconds; long enough to act within on a busy machine, short enough to wait for
short_lease = pytest.mark.parametrize("lease", [SHORT])


@pytest.fixture
def lease() -> float:
    """Nobody is slower than this; `short_lease` is for the tests that wait for it to run out."""
    return 60.0


@pytest.fixture
def leases(client: redis.Redis, lease: float) -> Leases:
    return Leases(client, Terms(lease=lease))


@pytest.fixture
def long(request_: Request) -> Request:
    return replace(request_, parameters=Parameters(sigma=0.5, n=N))


@pytest.fixture
def shares(client: redis.Redis, leases: Leases) -> dict[str, Shares]:
    """Three living workers alike; w1 will hold the job."""
    for name in WORKERS:
        info = WorkerInfo(id=name, host="h", models=["m"], started_at=datetime.now(UTC))
        leases.beat(info, ttl=60)
    made = {name: Shares(client, name, "x", leases.terms) for name in WORKERS}
    for one in made.values():
        one.announce()
    return made


@pytest.fixture
def claim(store: JobStore, leases: Leases, long: Request, shares: dict[str, Shares]) -> Claim:
    """Held by w1, pinned, at vote 40."""
    claim = claimed(leases, store.submit(long).job_id)
    leases.pin(claim, ENGINE, "x", "weights")
    leases.progress(claim, "40", Progress(samples=40, of=N))
    return claim


@pytest.fixture
def division(shares: dict[str, Shares], claim: Claim) -> str:
    division = shares["w1"].divide(claim, 40).division
    assert division is not None
    return division


def take(shares: Shares, claim: Claim, division: str, want: int = 100) -> Portion:
    portion = shares.exchange(claim.job_id, division, want=want, batch=BATCH).portion
    assert portion is not None
    return portion


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


def test_counts_leave_the_record_when_the_state_has_them(
    leases: Leases, shares: dict[str, Shares], claim: Claim, division: str
) -> None:
    portion = take(shares["w2"], claim, division)
    shares["w2"].exchange(claim.job_id, division, done=Counted(portion, "a"))
    leases.progress(claim, "later", Progress(samples=portion.stop, of=N), taken_up=[portion.start])
    assert shares["w1"].gather(claim, division) == {}


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


def test_every_key_of_a_divided_job_expires(
    leases: Leases, client: redis.Redis, shares: dict[str, Shares], claim: Claim, division: str
) -> None:
    portion = take(shares["w2"], claim, division)
    shares["w2"].exchange(claim.job_id, division, want=100, batch=BATCH, done=Counted(portion, "a"))
    keys = set(client.keys()) - {b"{smoothcert}:figures"}
    assert {b"{smoothcert}:portions:" + claim.job_id.encode()} < keys
    assert all(client.ttl(key) > 0 for key in keys)


class Crowd:
    """Workers that take, bring, die, come late and hand over at random; the holder takes up what came in."""

    def __init__(
        self, shares: dict[str, Shares], leases: Leases, claim: Claim, division: str, seed: int
    ) -> None:
        self.shares, self.leases, self.claim, self.division = shares, leases, claim, division
        self.random = random.Random(seed)
        self.held: dict[str, Portion] = {}
        self.dead: list[tuple[str, Portion]] = []
        self.drawn = 40

    def step(self) -> None:
        worker = self.random.choice(WORKERS)
        chosen = self.random.random()
        if chosen < 0.1 and worker in self.held:
            self.dead.append((worker, self.held.pop(worker)))
        elif chosen < 0.2 and self.dead:
            name, portion = self.random.choice(self.dead)
            self.shares[name].exchange(
                self.claim.job_id, self.division, done=Counted(portion, f"{portion.stop}")
            )
        elif chosen < 0.25:
            self.hand_over(worker)
        elif chosen < 0.5:
            self.take_up()
        else:
            self.work(worker)

    def work(self, worker: str) -> None:
        portion = self.held.pop(worker, None)
        answer = self.shares[worker].exchange(
            self.claim.job_id,
            self.division,
            want=self.random.randint(BATCH, 90),
            batch=BATCH,
            done=Counted(portion, f"{portion.stop}") if portion else None,
        )
        if answer.portion:
            self.held[worker] = answer.portion

    def hand_over(self, worker: str) -> None:
        self.leases.hand_back(self.claim)
        claim = self.leases.claim(self.claim.job_id, worker, "x")
        assert isinstance(claim, Claim)
        self.claim, self.drawn = claim, int(claim.state or 0)

    def take_up(self) -> None:
        counts = self.shares["w1"].gather(self.claim, self.division)
        assert counts is not None
        spans = sorted((start, int(stop)) for start, stop in counts.items())
        assert all(stop <= start for (_, stop), (start, _) in pairwise(spans)), "no vote is in two portions"
        taken = []
        while self.drawn in counts:
            taken.append(self.drawn)
            self.drawn = int(counts[self.drawn])
        if self.random.random() < 0.7:
            progress = Progress(samples=self.drawn, of=N)
            self.leases.progress(self.claim, str(self.drawn), progress, taken_up=taken)
        else:
            self.drawn = taken[0] if taken else self.drawn  # died before it could report


@pytest.mark.parametrize("seed", range(12))
def test_whatever_workers_do_every_vote_is_there_once(
    client: redis.Redis, shares: dict[str, Shares], claim: Claim, division: str, seed: int
) -> None:
    terms = Terms(lease=60, attempts=1000)
    patient = {name: Shares(client, name, "x", terms) for name in WORKERS}
    leases = Leases(client, terms)
    leases.renew(claim)
    crowd = Crowd(patient, leases, claim, division, seed)
    for _ in range(2000):
        crowd.step()
        if crowd.drawn == N:
            break
    assert crowd.drawn == N
