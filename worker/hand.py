"""One worker's hand in a divided job: it takes portions, counts them, brings the counts."""

import time
from dataclasses import dataclass

import structlog

from smoothcert.jobs.shares import Counted, Portion, Shares
from smoothcert.stats.chunks import count_chunk
from smoothcert.stats.schedule import Plan
from smoothcert.votes import VoteSource
from worker.pace import Pace

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Division:
    """Which job, in which division, and the looks its portions are cut at."""

    job_id: str
    number: str
    plan: Plan


class Hand:
    """The holder has one as every helper has. Methods may raise BrokerUnavailable, then be called again."""

    def __init__(self, shares: Shares, division: Division, source: VoteSource, pace: Pace) -> None:
        self._shares, self._division, self._source, self._pace = shares, division, source, pace
        self._portion: Portion | None = None
        self.votes = 0  # brought so far

    def step(self) -> bool:
        """Counts one portion; False when there is none for this worker now."""
        if self._portion is None:
            self._exchange(None)
        if self._portion is None:
            return False
        self._exchange(self._count(self._portion))
        return True

    def leave(self) -> None:
        """Puts back what it has not counted."""
        if self._portion is not None:
            self._shares.leave(self._division.job_id, self._portion)
            self._portion = None

    def _count(self, portion: Portion) -> Counted:
        start = time.perf_counter()
        part = count_chunk(self._source, self._division.plan, portion.start, portion.stop)
        seconds = time.perf_counter() - start
        self._pace.observe(portion.stop - portion.start, seconds)
        return Counted(portion, part.model_dump_json(), seconds)

    def _exchange(self, done: Counted | None) -> None:
        job_id, pace = self._division.job_id, self._pace
        answer = self._shares.exchange(
            job_id, self._division.number, want=pace.wanted, batch=pace.batch, done=done
        )
        self._portion = answer.portion
        if answer.late:
            log.warning("late", start=done.portion.start if done else None)
        elif done:
            self.votes += done.portion.stop - done.portion.start
