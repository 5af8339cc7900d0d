"""Any order of transitions, by anybody who may make them or may no longer: the record does what a few lines
of Python say it should.

Time passes by moving the record's times, not by waiting: the server can't tell the difference.
"""

from dataclasses import dataclass, field
from typing import Any

import pytest
import redis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from certification.contract.job import TERMINAL, Job, Progress
from certification.contract.parameters import Parameters
from certification.contract.problem import Problem
from certification.contract.store.delivery import connect
from certification.contract.store.image import Image
from certification.contract.store.jobs import JobStore, Request
from certification.contract.store.leases import Claim, Leases, LostLease, Terms
from certification.contract.store.record import job_of
from certification.errors import KeyReused
from tests.certification.contract.store.test_leases import ENGINE, certificate

MODEL = "m"
ATTEMPTS = 3
LEASE = 3600.0  # seconds; nothing expires that the test does not let expire
SINGLES = 4  # taken in a row while one of a batch waits
IMAGE = Image.of(bytes(4), (1, 2, 2), [])
WORKERS = st.sampled_from(["w1", "w2", "w3"])


@dataclass
class Expected:
    """What a job should be. claim: the one that holds it. silent: its lease is over, nobody noticed yet."""

    lane: str
    status: str = "queued"
    claim: Claim | None = None
    holder: str | None = None
    silent: bool = False
    attempts: int = 0
    state: str | None = None
    samples: int = 0
    pinned: bool = False
    seed: str | None = None
    certified: bool = False
    end: Job | None = None

    def free(self, status: str) -> None:
        self.status, self.claim, self.holder, self.silent = status, None, None, False


@dataclass
class Machine:
    """The model's whole world: jobs, and the order in which they wait."""

    jobs: dict[str, Expected] = field(default_factory=dict)
    queue: list[str] = field(default_factory=list)
    passed: int = 0  # single jobs taken while one of a batch waited

    def enqueue(self, job_id: str) -> None:
        self.jobs[job_id].free("queued")
        self.queue.append(job_id)

    def next_queued(self) -> str | None:
        """Takes the first of the lane whose turn it is."""
        lanes = {
            lane: [one for one in self.queue if self.jobs[one].lane == lane] for lane in ("single", "batch")
        }
        single, batch = lanes["single"], lanes["batch"]
        if not single and not batch:
            return None
        turn = batch if batch and (self.passed >= SINGLES or not single) else single
        self.passed = 0 if turn is batch else self.passed + bool(batch)
        self.queue.remove(turn[0])
        return turn[0]

    def claimed(self, named: str, worker: str) -> str | None:
        """Which job a worker gets that was sent this one."""
        job = self.jobs[named]
        if job.status == "running" and (job.silent or job.holder == worker):
            if job.attempts < ATTEMPTS:
                return named
            job.free("failed")
        return self.next_queued()


class Transitions(RuleBasedStateMachine):
    """Callers, workers (alive, late, or dead) and janitors, in any order."""

    url: str
    jobs, claims = Bundle("jobs"), Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.client: redis.Redis = connect(self.url)
        self.client.flushdb()
        self.store = JobStore(self.client)
        self.leases = Leases(self.client, Terms(lease=LEASE, attempts=ATTEMPTS, grace=LEASE))
        self.impatient = Leases(self.client, Terms(lease=LEASE, attempts=ATTEMPTS, grace=0.0))
        self.model = Machine()
        self.keys: dict[str, str] = {}
        self.tokens = 0

    def teardown(self) -> None:
        """Every key expires but the counters: those are few, and as many whatever happens."""
        lasting = {key for key in self.client.scan_iter() if self.client.ttl(key) <= 0}
        assert lasting <= {f"{self.store.root}:figures".encode()}
        self.client.close()

    @rule(target=jobs, key=st.none() | st.sampled_from("ab"), lane=st.sampled_from(["single", "batch"]))
    def submit(self, key: str | None, lane: Any) -> Any:
        request = Request(MODEL, Parameters(sigma=0.5), IMAGE, idempotency_key=key, lane=lane)
        made = self.store.submit(request)
        assert made.created == (key is None or key not in self.keys)
        if not made.created:
            assert made.job_id == self.keys[key or ""]
            return multiple()
        if key is not None:
            self.keys[key] = made.job_id
        self.model.jobs[made.job_id] = Expected(lane)
        self.model.enqueue(made.job_id)
        return made.job_id

    @precondition(lambda self: self.keys)
    @rule()
    def submit_something_else_with_a_used_key(self) -> None:
        request = Request(MODEL, Parameters(sigma=0.5), IMAGE, idempotency_key=min(self.keys), body="other")
        with pytest.raises(KeyReused):
            self.store.submit(request)

    @rule(job_id=jobs)
    def submit_again_because_the_answer_was_lost(self, job_id: str) -> None:
        assert self.store.submit(Request(MODEL, Parameters(sigma=0.5), IMAGE), job_id).job_id == job_id

    @rule(target=claims, named=jobs, worker=WORKERS)
    def claim(self, named: str, worker: str) -> Any:
        expected = self.model.claimed(named, worker)
        got = self.leases.claim(named, worker, "x")
        if expected is None:
            assert isinstance(got, str)
            return multiple()
        assert isinstance(got, Claim)
        job = self.model.jobs[expected]
        assert (got.job_id, got.state, got.attempt) == (expected, job.state, job.attempts + 1)
        assert got.engine == (ENGINE if job.pinned else None)
        assert job.seed in {None, got.seed}, "a seed is drawn once"
        job.free("running")
        job.claim, job.holder, job.seed, job.attempts = got, worker, got.seed, got.attempt
        return got

    def _held(self, claim: Claim) -> Expected | None:
        """The job, if this claim still holds it."""
        job = self.model.jobs[claim.job_id]
        return job if job.claim is claim else None

    def _write(self, claim: Claim, what: Any) -> Expected | None:
        """Does it, and sees that it is refused to whoever was fenced off."""
        job = self._held(claim)
        if job is None:
            with pytest.raises(LostLease):
                what()
            return None
        what()
        return job

    @rule(claim=claims, certified=st.booleans())
    def report(self, claim: Claim, certified: bool) -> None:
        self.tokens += 1
        state, progress = f"state {self.tokens}", Progress(samples=self.tokens, of=100_000)
        best = certificate(claim.seed) if certified else None
        job = self._write(claim, lambda: self.leases.progress(claim, state, progress, best))
        if job:
            job.state, job.samples, job.silent = state, self.tokens, False
            job.certified |= certified

    @rule(claim=claims)
    def renew(self, claim: Claim) -> None:
        if job := self._write(claim, lambda: self.leases.renew(claim)):
            job.silent = False

    @rule(claim=claims)
    def pin(self, claim: Claim) -> None:
        if job := self._write(claim, lambda: self.leases.pin(claim, ENGINE, "x", "w")):
            job.pinned = True

    @rule(claim=claims)
    def restart(self, claim: Claim) -> None:
        if job := self._write(claim, lambda: self.leases.restart(claim)):
            job.state, job.samples, job.pinned, job.certified = None, 0, False, False

    @rule(claim=claims)
    def hand_back(self, claim: Claim) -> None:
        if job := self._write(claim, lambda: self.leases.hand_back(claim)):
            job.attempts -= 1
            self.model.enqueue(claim.job_id)

    @rule(claim=claims)
    def finish(self, claim: Claim) -> None:
        done, progress = certificate(claim.seed), Progress(samples=100_000, of=100_000)
        if job := self._write(claim, lambda: self.leases.finish(claim, done, progress)):
            job.samples, job.certified = 100_000, True
            job.free("succeeded")

    @rule(claim=claims)
    def fail(self, claim: Claim) -> None:
        problem = Problem(title="t", status=500, detail="d")
        if job := self._write(claim, lambda: self.leases.fail(claim, problem)):
            job.free("failed")

    @rule(claim=consumes(claims))
    def vanish(self, claim: Claim) -> None:
        """A worker is never heard of again; its lease ends."""
        self.let_a_lease_end(claim)

    @rule(claim=claims)
    def let_a_lease_end(self, claim: Claim) -> None:
        """Its holder is silent, and may come back late."""
        if job := self._held(claim):
            past = int(self.client.time()[0] - 1) * 1_000_000
            name = f"{self.store.root}:job:{claim.job_id}"
            self.client.hset(name, mapping={"lease": past, "renewed": past - round(LEASE * 1e6)})
            self.client.zadd(f"{self.store.root}:running", {claim.job_id: past})
            job.silent = True

    @rule(job_id=jobs)
    def cancel(self, job_id: str) -> None:
        job = self.model.jobs[job_id]
        ended = job.status in TERMINAL
        assert self.store.cancel(job_id) == ("ended" if ended else "cancelled")
        if not ended:
            if job_id in self.model.queue:
                self.model.queue.remove(job_id)
            job.free("cancelled")

    @rule()
    def sweep(self) -> None:
        """A janitor goes round: who is silent loses its job, which fails when that was its last attempt."""
        due = {one.job_id for one in self.leases.overdue(idle=[MODEL])}
        assert due == self._silent_ones_queue()

    @rule()
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
        rows = self.store.scripts.run("view", *self.model.jobs)
        for (job_id, expected), row in zip(self.model.jobs.items(), rows, strict=True):
            job = job_of(job_id, row)
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

    run_state_machine_as_test(Here, settings=settings(max_examples=40, stateful_step_count=40, deadline=None))
