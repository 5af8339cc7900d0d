"""Any order of transitions, by anybody who may make them or may no longer: the record does what a few lines
of Python say it should.

Time passes by moving the record's times, not by waiting: the server can't tell the difference.
"""

import random
from typing import Any

import pytest
import redis
from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from smoothcert.errors import KeyReused
from smoothcert.images.pixels import CertifiedImage
from smoothcert.jobs.broker import connect
from smoothcert.jobs.jobs import JobStore, Lane, Request
from smoothcert.jobs.leases import Claim, Leases, LostLease, Terms
from smoothcert.schemas.job import TERMINAL, Problem, Progress
from smoothcert.schemas.parameters import Parameters
from tests.jobs.expected import ATTEMPTS, Expected, Machine
from tests.jobs.holding import ENGINE, certificate

MODEL = "m"
LEASE = 3600.0  # seconds; nothing expires that the test does not let expire
MOST_OPEN = 3  # jobs at once: more of them meet each other less
IMAGE = CertifiedImage.of(bytes(4), (1, 2, 2), [])
WORKERS = ("w1", "w2", "w3")
CALLERS = {"submit": 5, "submit_something_else": 0.5, "submit_again": 0.5, "cancel": 0.7}
WRITES = {"report": 4, "renew": 1, "pin": 2, "restart": 1, "hand_back": 1, "finish": 1, "fail": 0.5}
WORK = {
    "claim": 6,
    "take_over": 3,
    "let_a_lease_end": 1,
    "sweep": 1,
    "sweep_when_every_message_was_lost": 0.5,
}
KINDS = {**CALLERS, **WRITES, **WORK}
LATE = 0.25  # of all writes are of a holder that is, most often, not one any more


class Transitions(RuleBasedStateMachine):
    """Callers, workers (alive, late, dead) and janitors, in any order. which: a job or a claim by number.

    One rule of many actions, drawn by weight: of several rules Hypothesis leaves some out of every run, and
    then hardly a write is of somebody who holds the job.
    """

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.client: redis.Redis = connect(self.url)
        self.client.flushdb()
        self.store = JobStore(self.client)
        self.leases = Leases(self.client, Terms(lease=LEASE, attempts=ATTEMPTS, grace=LEASE))
        self.impatient = Leases(self.client, Terms(lease=LEASE, attempts=ATTEMPTS, grace=0.0))
        self.model = Machine()
        self.keys: dict[str, str] = {}
        self.claims: list[Claim] = []  # every one ever given, whoever holds the job now
        self.tokens = 0
        self._submit(None, "single")
        self._submit(None, "batch")
        self.claim(0, "w1")

    def teardown(self) -> None:
        """Every key expires but the counters: those are few, and as many whatever happens."""
        lasting = {key for key in self.client.scan_iter() if self.client.ttl(key) <= 0}
        assert lasting <= {f"{self.store.root}:figures".encode()}
        self.client.close()

    @rule(dice=st.integers(0, 2**64 - 1))
    def act(self, dice: int) -> None:
        chance = random.Random(dice)
        (what,) = chance.choices(list(KINDS), list(KINDS.values()))
        which, worker = chance.randrange(6), chance.choice(WORKERS)
        note(f"{what}, {which} before the last, {worker}")
        match what:
            case "submit":
                self.submit(chance.choice([None, None, "a", "b"]), chance.choice(["single", "batch"]))
            case "claim" | "take_over":
                getattr(self, what)(which, worker)
            case "submit_again" | "cancel" | "let_a_lease_end":
                getattr(self, what)(which)
            case "submit_something_else" | "sweep" | "sweep_when_every_message_was_lost":
                getattr(self, what)()
            case _:
                self.write(self._claim(which) if chance.random() < LATE else self._last_held(), what)

    def _job(self, which: int) -> str:
        return list(self.model.jobs)[-1 - which % len(self.model.jobs)]

    def _claim(self, which: int) -> Claim:
        return self.claims[-1 - which % len(self.claims)]

    def _last_held(self) -> Claim:
        """The one given last of those that hold their jobs."""
        held = [claim for claim in self.claims if self.model.jobs[claim.job_id].claim is claim]
        return (held or self.claims)[-1]

    def submit(self, key: str | None, lane: Lane) -> None:
        if self.model.open() < MOST_OPEN:
            self._submit(key, lane)

    def _submit(self, key: str | None, lane: Lane) -> None:
        request = Request(MODEL, Parameters(sigma=0.5), IMAGE, idempotency_key=key, lane=lane)
        made = self.store.submit(request)
        assert made.created == (key is None or key not in self.keys)
        if not made.created:
            assert made.job_id == self.keys[key or ""]
            return
        if key is not None:
            self.keys[key] = made.job_id
        self.model.jobs[made.job_id] = Expected(lane)
        self.model.enqueue(made.job_id)

    def submit_something_else(self) -> None:
        """Under a key that was used."""
        if not self.keys:
            return
        request = Request(MODEL, Parameters(sigma=0.5), IMAGE, idempotency_key=min(self.keys), body="other")
        with pytest.raises(KeyReused):
            self.store.submit(request)

    def submit_again(self, which: int) -> None:
        """Because the answer was lost."""
        job_id = self._job(which)
        assert self.store.submit(Request(MODEL, Parameters(sigma=0.5), IMAGE), job_id).job_id == job_id

    def claim(self, which: int, worker: str) -> None:
        named = self._job(which)
        expected, got = self.model.claimed(named, worker), self.leases.claim(named, worker, "x")
        if expected is None:
            assert isinstance(got, str)
            return
        assert isinstance(got, Claim)
        job = self.model.jobs[expected]
        assert (got.job_id, got.state, got.attempt) == (expected, job.state, job.attempts + 1)
        assert got.engine == (ENGINE if job.pinned else None)
        assert job.seed in (None, got.seed), "a seed is drawn once"
        job.free("running")
        job.claim, job.holder, job.seed, job.attempts = got, worker, got.seed, got.attempt
        self.claims.append(got)

    def let_a_lease_end(self, which: int) -> None:
        """Its holder is silent, and may come back late."""
        claim = self._claim(which)
        job = self.model.jobs[claim.job_id]
        if job.claim is claim:
            past = int(self.client.time()[0] - 1) * 1_000_000
            name = f"{self.store.root}:job:{claim.job_id}"
            self.client.hset(name, mapping={"lease": past, "renewed": past - round(LEASE * 1e6)})
            self.client.zadd(f"{self.store.root}:running", {claim.job_id: past})
            job.silent = True

    def take_over(self, which: int, worker: str) -> None:
        """Its holder is silent, and another one comes."""
        self.let_a_lease_end(which)
        self.claim(len(self.model.jobs) - 1 - list(self.model.jobs).index(self._claim(which).job_id), worker)

    def write(self, claim: Claim, how: str) -> None:
        """A worker does it, and is refused if it was fenced off."""
        job = self.model.jobs[claim.job_id]
        if job.claim is claim:
            getattr(self, how)(claim, job)
        else:
            with pytest.raises(LostLease):
                getattr(self, how)(claim, Expected("single"))

    def report(self, claim: Claim, job: Expected) -> None:
        self.tokens += 1
        certified = self.tokens % 2 == 0
        state, progress = f"state {self.tokens}", Progress(samples=self.tokens, of=100_000)
        self.leases.progress(claim, state, progress, certificate(claim.seed) if certified else None)
        job.state, job.samples, job.silent = state, self.tokens, False
        job.certified |= certified

    def renew(self, claim: Claim, job: Expected) -> None:
        self.leases.renew(claim)
        job.silent = False

    def pin(self, claim: Claim, job: Expected) -> None:
        self.leases.pin(claim, ENGINE, "x", "w")
        job.pinned = True

    def restart(self, claim: Claim, job: Expected) -> None:
        self.leases.restart(claim)
        job.state, job.samples, job.pinned, job.certified = None, 0, False, False

    def hand_back(self, claim: Claim, job: Expected) -> None:
        self.leases.hand_back(claim)
        job.attempts -= 1
        self.model.enqueue(claim.job_id)

    def finish(self, claim: Claim, job: Expected) -> None:
        self.leases.finish(claim, certificate(claim.seed), Progress(samples=100_000, of=100_000))
        job.samples, job.certified = 100_000, True
        job.free("succeeded")

    def fail(self, claim: Claim, job: Expected) -> None:
        self.leases.fail(claim, Problem(title="t", status=500, detail="d"))
        job.free("failed")

    def cancel(self, which: int) -> None:
        job_id = self._job(which)
        job = self.model.jobs[job_id]
        ended = job.status in TERMINAL
        assert self.store.cancel(job_id) == ("ended" if ended else "cancelled")
        if not ended:
            if job_id in self.model.queue:
                self.model.queue.remove(job_id)
            job.free("cancelled")

    def sweep(self) -> None:
        """A janitor goes round: who is silent loses its job, which fails when that was its last attempt."""
        due = {one.job_id for one in self.leases.overdue(idle=[MODEL])}
        assert due == self._silent_ones_queue()

    def sweep_when_every_message_was_lost(self) -> None:
        waiting = set(self.model.queue)
        due = [one.job_id for one in self.impatient.overdue(idle=[MODEL])]
        assert set(due) == waiting | self._silent_ones_queue()
        assert len(due) == len(set(due)), "each is sent once"

    def _silent_ones_queue(self) -> set[str]:
        """In the order in which their leases ended."""
        silent = [job_id for job_id, job in self.model.jobs.items() if job.status == "running" and job.silent]
        for job_id in silent:
            job = self.model.jobs[job_id]
            if job.attempts >= ATTEMPTS:
                job.free("failed")
        again = [job_id for job_id in silent if self.model.jobs[job_id].status == "running"]
        for job_id in sorted(again, key=self._place):
            self.model.enqueue(job_id)
        return set(again)

    def _place(self, job_id: str) -> int:
        """Jobs that lost their holders in one sweep stand in the queue by their ids: they have one time."""
        place: Any = self.client.zrank(f"{self.store.root}:queue:{MODEL}", job_id)
        return int(place)

    @invariant()
    def the_record_is_as_expected(self) -> None:
        jobs = self.store.jobs(list(self.model.jobs))
        for expected, job in zip(self.model.jobs.values(), jobs, strict=True):
            assert job is not None
            assert (job.status, job.attempts) == (expected.status, expected.attempts)
            assert job.progress.samples == expected.samples
            assert (job.certificate is not None) == (expected.certified and job.ended)
            assert job.ended or expected.end is None
            if job.ended:
                assert expected.end in (None, job), "an end is the end"
                expected.end = job

    @invariant()
    def queue_and_leases_list_every_job_once(self) -> None:
        running = {job_id for job_id, job in self.model.jobs.items() if job.status == "running"}
        assert {one.decode() for one in self.client.zrange(f"{self.store.root}:running", 0, -1)} == running
        assert self.store.depth() == len(self.model.queue)


def test_any_order_of_transitions_does_what_the_model_says(redis_url: str) -> None:
    class Here(Transitions):
        url = redis_url

    run_state_machine_as_test(Here, settings=settings(max_examples=30, stateful_step_count=40, deadline=None))
