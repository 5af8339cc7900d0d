"""What several workers can do with one job in the real record, each step held against a few lines of Python.

Votes are known by their number (KnownVotes), so a count that is missing or twice shows in the sums. Time
passes by moving the record's times, not by waiting.
"""

import json
from dataclasses import replace

import pytest

from smoothcert.jobs.jobs import Request
from smoothcert.jobs.leases import LostLease
from smoothcert.jobs.shares import Counted, Portion
from smoothcert.schemas.job import Problem
from smoothcert.stats.chunks import Chunk, count_chunk, merge
from smoothcert.stats.state import CertificationState
from tests.jobs.held import (
    ASKED,
    BATCH,
    IMAGE,
    LEASE,
    MODEL,
    VOTES,
    Held,
    Owed,
    counted_up_to,
    proof,
    undisturbed,
)
from tests.jobs.holding import ENGINE
from tests.jobs.portions import ATTEMPTS, N


class Sharing(Held):
    """A held job with its helpers: portions are taken, brought, left, lost; the job ends."""

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
    def _part(portion: Portion) -> Chunk:
        return count_chunk(VOTES, undisturbed().plan, portion.start, portion.stop)

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
        parts = {start: Chunk.model_validate_json(said) for start, said in counts.items()}
        holder.taken_up += merge(
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
            tally = CertificationState.model_validate_json(stored).estimation
            assert (tally.drawn, tally.counts) == (self.reported, counted_up_to(self.reported))
        if self.divided.number:
            assert self.divided.has_every_vote_once(self.reported)
