"""The votes of one certification in numbered ranges: counted by any worker in any order, merged in order.

Range 0 holds the selection votes and the first estimation votes; ranges 1, 2, ... hold `range_votes`
estimation votes each, cut at n. The counts of range k are a pure function of (vote source, Ranges, k).
"""

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from pydantic import BaseModel, ConfigDict

from smoothcert.schemas.parameters import Parameters
from smoothcert.stats.procedure import Certification
from smoothcert.stats.schedule import look_schedule
from smoothcert.votes import BatchedVotes, Counts, VoteRange, VoteSource

FIRST_SECONDS = 0.1  # of range 0: what it takes to measure the speed of the engine
RANGE_SECONDS = 0.5  # of the others: what a kill costs, and the time between two reports
RANGES_BY_DEADLINE = 16  # so many at least fit before a deadline, if a batch is short enough
BATCHES_EACH = 4  # of a range, at least, for each batch that the engine has under way at once


class RangeCounts(BaseModel):
    """selection: counts_K of the selection votes, in range 0 alone. pieces: (stop, counts_K) of estimation
    votes, in order, cut at every look, because a look reads them up to there only."""

    model_config = ConfigDict(frozen=True)

    selection: tuple[int, ...] | None = None
    pieces: tuple[tuple[int, tuple[int, ...]], ...]

    @property
    def votes(self) -> int:
        """Estimation votes up to the end of this range."""
        return self.pieces[-1][0]


@dataclass(frozen=True)
class Ranges:
    """How the votes of one certification are numbered. first_votes: estimation votes of range 0."""

    parameters: Parameters
    first_votes: int
    range_votes: int

    @property
    def total(self) -> int:
        """Number of ranges."""
        return 1 - (self.first_votes - self.parameters.n) // self.range_votes

    def start(self, k: int) -> int:
        """First estimation vote of range k."""
        return self.first_votes + (k - 1) * self.range_votes if k else 0

    def count(self, source: BatchedVotes, k: int, *, ahead: bool = False) -> RangeCounts:
        """Draw range k, independently of the state of the certification.

        ahead: range k+1 is expected next.
        """
        stop = min(self.start(k + 1), self.parameters.n)
        until = min(self.start(k + 2), self.parameters.n) if ahead else stop
        selection = None if k else _selection(source, self.parameters)
        return RangeCounts(
            selection=selection, pieces=_pieces(source, self.parameters, self.start(k), stop, until)
        )

    def merge(self, certification: Certification, folded: int, counts: Iterable[RangeCounts]) -> int:
        """Adds ranges `folded`, folded+1, ...; votes past a look that stops are left out.

        Returns how many ranges the certification covers then.
        """
        for k, counted in enumerate(counts, start=folded):
            if k == 0 and counted.selection is not None:
                certification.add(VoteRange("selection", 0, self.parameters.n0), _array(counted.selection))
            for votes, counts_K in _ranges(self.start(k), counted):
                if not certification.finished:
                    certification.add(votes, counts_K)
            folded = k + 1
        return folded


def first_range(source: BatchedVotes, parameters: Parameters) -> tuple[Ranges, RangeCounts]:
    """Draws range 0 and lets its time decide how large ranges are."""
    selection = _selection(source, parameters)
    step, drawn, start = BATCHES_EACH * source.at_once, 0, time.monotonic()
    pieces: list[tuple[int, tuple[int, ...]]] = []
    while not drawn or (drawn < parameters.n and time.monotonic() - start < FIRST_SECONDS):
        stop = min(drawn + step, parameters.n)
        pieces += _pieces(source, parameters, drawn, stop, stop)
        drawn = stop
    seconds = max(time.monotonic() - start, 1e-6)
    length = min(RANGE_SECONDS, (parameters.deadline or math.inf) / RANGES_BY_DEADLINE)
    steps = max(round(length * drawn / seconds / step), 1)
    return Ranges(parameters, drawn, steps * step), RangeCounts(selection=selection, pieces=tuple(pieces))


def _selection(source: VoteSource, parameters: Parameters) -> tuple[int, ...] | None:
    if parameters.procedure == "predict":
        return None
    return tuple(source.count(VoteRange("selection", 0, parameters.n0)).tolist())


def _pieces(
    source: BatchedVotes, parameters: Parameters, start: int, stop: int, until: int
) -> tuple[tuple[int, tuple[int, ...]], ...]:
    looks = look_schedule(parameters).looks
    edges = [start, *(look.n for look in looks if start < look.n < stop), stop]
    counted = [(b, source.count(VoteRange("estimation", a, b), until)) for a, b in pairwise(edges)]
    return tuple((b, tuple(counts_K.tolist())) for b, counts_K in counted)


def _ranges(start: int, counted: RangeCounts) -> Iterator[tuple[VoteRange, Counts]]:
    for stop, counts in counted.pieces:
        yield VoteRange("estimation", start, stop), _array(counts)
        start = stop


def _array(counts: tuple[int, ...]) -> Counts:
    return np.array(counts, dtype=np.int64)
