"""What several workers can do with one job in the real record, each step held against a few lines of Python.

Votes are known by their number (KnownVotes), so a count that is missing or twice shows in the sums. Time
passes by moving the record's times, not by waiting.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
import redis

from certification.contract.certificate import Certificate
from certification.contract.job import Job
from certification.contract.parameters import Parameters
from certification.contract.problem import Problem
from certification.contract.store.delivery import connect
from certification.contract.store.image import Image
from certification.contract.store.jobs import JobStore, Request
from certification.contract.store.leases import Claim, Leases, LostLease, Terms
from certification.contract.store.shares import Counted, Portion, Shares
from certification.contract.store.workers import WorkerInfo
from certification.evidence import State
from certification.parts import Part, count_part, take_up
from certification.procedure import Certification, drive
from certification.votes import VoteRange
from tests.certification.contract.store.portions import ATTEMPTS, Divided, N, Out
from tests.certification.contract.store.test_leases import ENGINE, certificate
from tests.certification.fakes import KnownVotes

MODEL = "m"
LEASE = 3600.0  # seconds; nothing expires that the test does not let expire
BATCH = 16
ASKED = Parameters(sigma=0.5, n0=16, n=N)
VOTES = KnownVotes([0.7, 0.2, 0.06])
IMAGE = Image.of(bytes(4), (1, 2, 2), [])
NAMES = ("w1", "w2", "w3")


@cache
def counted_up_to(drawn: int) -> tuple[int, ...]:
    """The counts of the first votes, each once."""
    return tuple(VOTES.count(VoteRange("estimation", 0, drawn)).tolist()) if drawn else (0, 0, 0)


@cache
def undisturbed() -> Certification:
    certification = Certification(ASKED, VOTES.num_classes)
    for _ in drive(certification, VOTES, N):
        pass
    return certification


def proof(certification: Certification, seed: str) -> Certificate:
    """A certificate of what this certification has counted."""
    result = certification.result
    evidence = {"n": result.n, "counts": list(result.counts), "radius": result.radius}
    return certificate(seed).model_copy(update=evidence)


@dataclass
class Holder:
    """A worker's process that has, or had, the job. division: as far as it has heard."""

    worker: str
    claim: Claim
    certification: Certification
    division: str | None
    taken_up: list[int] = field(default_factory=list)

    @property
    def drawn(self) -> int:
        return self.certification.state.estimation.drawn


@dataclass(frozen=True)
class Owed:
    """A portion that was given to somebody once, whoever has it now."""

    worker: str
    division: str
    portion: Portion


class Sharing:
    """Holders and helpers (alive, late, dead) of one job. which: of all holders, or portions, that there ever
    were, the last first.
    """

    def __init__(self, url: str) -> None:
        self.client: redis.Redis = connect(url)
        self.client.flushdb()
        terms = Terms(lease=LEASE, attempts=ATTEMPTS, grace=LEASE)
        self.store, self.leases = JobStore(self.client), Leases(self.client, terms)
        self.shares = {name: Shares(self.client, name, "x", terms) for name in NAMES}
        self.job_id = self.store.submit(Request(MODEL, ASKED, IMAGE)).job_id
        self.status, self.attempts, self.reported, self.silent = "queued", 0, 0, False
        self.queue = [self.job_id]
        self.end: Job | None = None
        self.divided = Divided()
        self.holder: Holder | None = None  # the one that may write
        self.holders: list[Holder] = []
        self.owed: list[Owed] = []
        self.other: str | None = None  # a job that waits
        self._begin()

    def _begin(self) -> None:
        """Three workers, one of which has the job and reported its first votes."""
        for name in NAMES:
            info = WorkerInfo(id=name, host="h", models=[MODEL], started_at=datetime.now(UTC))
            self.leases.beat(info, ttl=3600)
            self.shares[name].announce()
        self.claim("w1")
        self.leases.pin(self.holders[0].claim, ENGINE, "x", "w")
        for _ in range(2):
            self.count_alone(0, 40)
        self.report(0)

    def close(self) -> None:
        """Whoever comes last can end it, and what was brought was counted in the figures once."""
        self._end_it()
        assert self.store.figures().count("votes", MODEL) == self.divided.brought
        lasting = {key for key in self.client.scan_iter() if self.client.ttl(key) <= 0}
        assert lasting <= {f"{self.store.root}:figures".encode()}
        self.client.close()

    def _end_it(self) -> None:
        while self.status in ("queued", "running"):
            self.nobody_else_waits()
            self.let_the_lease_end()
            for start in list(self.divided.out):
                self.let_a_portion_end(list(self.divided.out).index(start))
            self.claim("w1")
            for _ in range(N):
                if self.status != "running":
                    break
                self.take("w1", 0, 100)
                self.bring(0, None)
                self.gather(0)
                self.count_alone(0, 100)
                self.report(0)
                self.finish(0)
            else:
                raise AssertionError("this job can't end")

    def _key(self, what: str, job_id: str) -> str:
        return f"{self.store.root}:{what}:{job_id}"

    def _free(self, status: str) -> None:
        self.status, self.holder, self.silent = status, None, False
        self.queue = [one for one in self.queue if one != self.job_id]
        if status == "queued":
            self.queue.append(self.job_id)
        else:
            self.divided.over()

    def _wrote(self, holder: Holder, write: Callable[[], object]) -> bool:
        """Whether it may: all but the last holder are refused."""
        if holder is self.holder:
            write()
            return True
        with pytest.raises(LostLease):
            write()
        return False

    def _renewed(self) -> None:
        assert self.holder
        self.silent = False
        self.divided.heard_of(self.holder.worker)

    def claim(self, worker: str) -> None:
        """A message brings it, or brings nothing, or the other job: that is cancelled then."""
        may = self._may_claim(worker)
        got = self.leases.claim(self.job_id, worker, "x")
        if isinstance(got, Claim) and got.job_id == self.other:
            self.nobody_else_waits()
            return
        assert isinstance(got, Claim) == may
        if isinstance(got, Claim):
            assert (got.attempt, got.division) == (self.attempts + 1, self.divided.number)
            self.status, self.attempts, self.queue = "running", got.attempt, [*filter(None, [self.other])]
            self.holder = Holder(worker, got, self._resumed(got), got.division)
            self.holders.append(self.holder)
            self._renewed()

    def _may_claim(self, worker: str) -> bool:
        if self.status == "running" and (self.silent or (self.holder and self.holder.worker == worker)):
            if self.attempts < ATTEMPTS:
                return True
            self._free("failed")
        return self.queue[:1] == [self.job_id]

    @staticmethod
    def _resumed(claim: Claim) -> Certification:
        if claim.state is None:
            return Certification(ASKED, VOTES.num_classes)
        return Certification.resume(ASKED, VOTES.num_classes, State.model_validate_json(claim.state))

    def _of(self, which: int) -> Holder:
        return self.holders[-1 - which % len(self.holders)]

    def go_on(self, worker: str, *, heard: bool) -> None:
        """A message comes: this worker takes the job, if it is free; who has it works and asks others in."""
        if self.holder is None or self.silent:
            self.claim(worker)
        self.count_alone(0, 20)
        self.report(0)
        self.assert_portions()
        self.divide(0, answered=heard)

    def count_alone(self, which: int, most: int) -> None:
        """A holder that has not heard of a division, or whose division was over."""
        holder = self._of(which)
        votes = None if holder.division else holder.certification.request(most)
        if votes:
            holder.certification.add(votes, VOTES.count(votes))

    def report(self, which: int) -> None:
        holder = self._of(which)
        certification = holder.certification
        said = certification.state.model_dump_json(), certification.progress
        best = proof(certification, holder.claim.seed) if certification.state.best else None
        taken_up = holder.taken_up
        if self._wrote(holder, lambda: self.leases.progress(holder.claim, *said, best, taken_up=taken_up)):
            self.reported = holder.drawn
            self.divided.reported(holder.drawn, taken_up)
            holder.taken_up = []
            self._renewed()

    def divide(self, which: int, answered: bool) -> None:
        """The holder asks others in; its answer may be lost, so that it never hears of the division."""
        holder = self._of(which)
        if not holder.drawn:
            return
        if holder is not self.holder:
            self._wrote(holder, lambda: self.shares[holder.worker].divide(holder.claim, holder.drawn))
            return
        if self.divided.number and not self.divided.continues(holder.drawn):
            self.divided.over()
        busy = {holder.worker} | {out.worker for out in self.divided.out.values()}
        told = self.shares[holder.worker].divide(holder.claim, holder.drawn)
        may = bool(set(NAMES) - busy) and self.reported == holder.drawn
        assert (told.division is not None) == (self.divided.number is not None or may)
        if told.division and told.division != self.divided.number:
            assert self.divided.number is None
            self.divided.begin(told.division, holder.drawn)
        if answered and not holder.division:
            holder.division = told.division

    def join(self, worker: str) -> None:
        told = self.shares[worker].join(self.job_id)
        expected = self.divided.number if self.status == "running" else None
        assert (told.division if told else None) == expected

    def take(self, worker: str, late: int, want: int) -> None:
        """A worker asks for a portion; late: of a division that may be over."""
        known = [owed.division for owed in self.owed if owed.worker == worker]
        division = known[-late] if 0 < late <= len(known) else self.divided.number
        if division:
            self._exchange(worker, division, want, None)

    def bring(self, which: int, want: int | None) -> None:
        """Counts come in: in time, late or once more; with them the next portion may be asked for."""
        if self.owed:
            owed = self.owed[-1 - which % len(self.owed)]
            self._exchange(owed.worker, owed.division, want or 0, owed.portion)

    def _exchange(self, worker: str, division: str, want: int, done: Portion | None) -> None:
        counted = done and Counted(done, self._part(done).model_dump_json())
        current = division == self.divided.number
        taken = current and done is not None and self.divided.bring(done.start, done.ticket)
        may = current and want > 0 and self._goes_on(worker)
        again = self.divided.abandoned(worker)
        spent = may and again is not None and self.divided.out[again].tries >= ATTEMPTS
        left = again is not None or self.divided.next < N
        told = self.shares[worker].exchange(self.job_id, division, want=want, batch=BATCH, done=counted)
        assert told.late == (done is not None and not taken)
        if spent:
            self._free("failed")
        assert (told.portion is not None) == (may and left and not spent)
        if told.portion:
            self.divided.give(worker, told.portion.start, told.portion.stop, told.portion.ticket)
            self.owed.append(Owed(worker, division, told.portion))

    def _goes_on(self, worker: str) -> bool:
        if self.holder is None or self.silent:
            return False
        return self.holder.worker == worker or self.other is None

    @staticmethod
    def _part(portion: Portion) -> Part:
        return count_part(VOTES, undisturbed().plan, portion.start, portion.stop)

    def leave(self, which: int) -> None:
        """A portion is put back, by who has it or by who had it."""
        if not self.owed:
            return
        owed = self.owed[-1 - which % len(self.owed)]
        self.shares[owed.worker].leave(self.job_id, owed.portion)
        out = self.divided.out.get(owed.portion.start)
        if out and out.ticket == owed.portion.ticket:
            out.ticket, out.worker, out.silent, out.tries = "", "", True, out.tries - 1

    def hold(self, which: int) -> None:
        """A helper keeps what it has, unless its division is over."""
        if not self.owed:
            return
        owed = self.owed[-1 - which % len(self.owed)]
        if owed.division == self.divided.number:
            self.shares[owed.worker].hold(self.job_id, owed.division)
            self.divided.heard_of(owed.worker)
        else:
            with pytest.raises(LostLease):
                self.shares[owed.worker].hold(self.job_id, owed.division)

    def let_a_portion_end(self, which: int) -> None:
        """Who has it is silent, and may come back late."""
        if not self.divided.out:
            return
        start = list(self.divided.out)[which % len(self.divided.out)]
        name = self._key("portions", self.job_id)
        stored = json.loads(self.client.hget(name, start) or "")
        self.client.hset(name, str(start), json.dumps(stored | {"expires": "0"}))
        self.divided.out[start].silent = True

    def gather(self, which: int) -> None:
        """A holder takes up what came in, as far as it has no gaps. A late one is told to stop."""
        holder = self._of(which)
        if not holder.division:
            return
        shares = self.shares[holder.worker]
        if holder is not self.holder:
            self._wrote(holder, lambda: shares.gather(holder.claim, holder.division or ""))
            return
        counts = shares.gather(holder.claim, holder.division)
        if holder.division != self.divided.number:
            assert counts is None
            holder.division = None
            return
        assert counts is not None
        assert set(counts) == set(self.divided.came_in)
        parts = {start: Part.model_validate_json(said) for start, said in counts.items()}
        holder.taken_up += take_up(
            holder.certification, {start: part for start, part in parts.items() if start >= holder.drawn}
        )

    def wear_out(self, worker: str) -> None:
        """Its child dies on the same portion again and again."""
        for _ in range(ATTEMPTS + 1):
            self.take(worker, 0, 50)

    def lose_the_division(self) -> None:
        """A broker that lost its last second knows nothing of it."""
        if self.divided.number:
            self.client.hdel(self._key("job", self.job_id), "division", "next")
            self.client.delete(self._key("portions", self.job_id), self._key("counts", self.job_id))
            self.divided.over()

    def let_the_lease_end(self) -> None:
        """The holder is silent, and may come back late."""
        if self.holder and not self.silent:
            past = int(self.client.time()[0] - 1) * 1_000_000
            times = {"lease": past, "renewed": past - round(LEASE * 1e6)}
            self.client.hset(self._key("job", self.job_id), mapping=times)
            self.client.zadd(f"{self.store.root}:running", {self.job_id: past})
            self.silent = True

    def sweep(self) -> None:
        due = {one.job_id for one in self.leases.overdue()}
        assert due == ({self.job_id} if self.silent and self.attempts < ATTEMPTS else set())
        if self.silent:
            self._free("queued" if due else "failed")

    def hand_back(self, which: int) -> None:
        holder = self._of(which)
        if self._wrote(holder, lambda: self.leases.hand_back(holder.claim)):
            self.attempts -= 1
            self._free("queued")

    def restart(self, which: int) -> None:
        """Other weights: every vote is forgotten."""
        holder = self._of(which)
        if not self._wrote(holder, lambda: self.leases.restart(holder.claim)):
            return
        holder.claim = replace(holder.claim, state=None, engine=None, weights=None, division=None)
        self.leases.pin(holder.claim, ENGINE, "x", "w")
        holder.certification, holder.division, holder.taken_up = self._resumed(holder.claim), None, []
        self.reported = 0
        self.divided.over()

    def finish(self, which: int) -> None:
        """Once all votes are there."""
        holder = self._of(which)
        if not holder.certification.finished:
            return
        ending = holder.claim, proof(holder.certification, holder.claim.seed), holder.certification.progress
        if self._wrote(holder, lambda: self.leases.finish(*ending)):
            self.reported = N
            self._free("succeeded")

    def fail(self, which: int) -> None:
        holder, problem = self._of(which), Problem(title="t", status=500, detail="d")
        if self._wrote(holder, lambda: self.leases.fail(holder.claim, problem)):
            self._free("failed")

    def cancel(self) -> None:
        """In time or too late."""
        expected = {"queued": "cancelled", "running": "cancelled", "expired": "unknown"}
        assert self.store.cancel(self.job_id) == expected.get(self.status, "ended")
        if self.status in ("queued", "running"):
            self._free("cancelled")

    def expire(self) -> None:
        """The record's time is over; what belongs to it lasts a little longer."""
        self.client.delete(self._key("job", self.job_id))
        self._free("expired")

    def somebody_waits(self) -> None:
        """Another job: helpers go to it, the holder stays."""
        if self.other is None:
            self.other = self.store.submit(Request(MODEL, ASKED, IMAGE)).job_id
            self.queue.append(self.other)

    def nobody_else_waits(self) -> None:
        """Not any more."""
        if self.other:
            self.store.cancel(self.other)
            self.queue = [one for one in self.queue if one != self.other]
            self.other = None

    def assert_record(self) -> None:
        """Its state, and that an end is the end."""
        job = self.store.job(self.job_id)
        if self.status == "expired":
            assert job is None, "what has expired does not come back"
            return
        assert job is not None
        assert (job.status, job.progress.samples) == (self.status, self.reported)
        if job.ended:
            assert self.end in (None, job)
            self.end = job
        if job.status == "succeeded":
            assert job.certificate == proof(undisturbed(), self.holders[0].claim.seed)
        elif job.certificate:
            assert tuple(job.certificate.counts) == counted_up_to(job.certificate.n)

    def assert_votes(self) -> None:
        """Each is counted once, by every holder and in the record, at looks and between them."""
        for holder in self.holders:
            assert holder.certification.state.estimation.counts == counted_up_to(holder.drawn)
            best = holder.certification.state.best
            assert best is None or best.counts == counted_up_to(best.drawn)
        stored = self.client.hget(self._key("job", self.job_id), "state")
        if stored:
            tally = State.model_validate_json(stored).estimation
            assert (tally.drawn, tally.counts) == (self.reported, counted_up_to(self.reported))
        if self.divided.number:
            assert self.divided.has_every_vote_once(self.reported)

    def assert_portions(self) -> None:
        """Who has which, and what came in."""
        if self.status == "expired":
            return
        (division,) = self.client.hmget(self._key("job", self.job_id), "division")
        assert (division and division.decode()) == self.divided.number
        out = {int(start): self._out(said) for start, said in self._all("portions").items()}
        assert out == self.divided.out
        assert {int(start) for start in self._all("counts")} == set(self.divided.came_in)

    def _all(self, what: str) -> dict[bytes, bytes]:
        found: Any = self.client.hgetall(self._key(what, self.job_id))
        return dict(found)

    @staticmethod
    def _out(said: bytes) -> Out:
        portion = json.loads(said)
        silent = int(portion["expires"]) == 0
        return Out(int(portion["stop"]), portion["ticket"], portion["worker"], portion["tries"], silent)
