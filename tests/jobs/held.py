"""A job and its holders, alive, late or dead: claimed, counted, reported, divided; each step held against a
few lines of Python.

Votes are known by their number (KnownVotes), so a count that is missing or twice shows in the sums. Time
passes by moving the record's times, not by waiting.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
import redis

from smoothcert.images.pixels import CertifiedImage
from smoothcert.jobs.broker import connect
from smoothcert.jobs.jobs import JobStore, Request
from smoothcert.jobs.leases import Claim, Leases, LostLease, Terms
from smoothcert.jobs.shares import Portion, Shares
from smoothcert.jobs.workers import WorkerInfo
from smoothcert.schemas.certificate import Certificate
from smoothcert.schemas.job import Job
from smoothcert.schemas.parameters import Parameters
from smoothcert.stats.procedure import Certification, drive
from smoothcert.stats.state import CertificationState
from smoothcert.testing import KnownVotes
from smoothcert.votes import VoteRange
from tests.jobs.holding import ENGINE, certificate
from tests.jobs.portions import ATTEMPTS, Divided, N, Out

MODEL = "m"
LEASE = 3600.0  # seconds; nothing expires that the test does not let expire
BATCH = 16
ASKED = Parameters(sigma=0.5, n0=16, n=N)
VOTES = KnownVotes([0.7, 0.2, 0.06])
IMAGE = CertifiedImage.of(bytes(4), (1, 2, 2), [])
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


class Held:
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
        return Certification.resume(
            ASKED, VOTES.num_classes, CertificationState.model_validate_json(claim.state)
        )

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

    def nobody_else_waits(self) -> None:
        """Not any more."""
        if self.other:
            self.store.cancel(self.other)
            self.queue = [one for one in self.queue if one != self.other]
            self.other = None

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
