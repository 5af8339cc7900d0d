"""The votes of one certification in numbered ranges: counted by any worker in any order, merged in order.

Range k of `range_votes` votes holds estimation votes k * range_votes and on, cut at n; range 0 has the
selection votes too. The counts of a range are a pure function of (vote source, parameters, range_votes, k).
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from pydantic import BaseModel, ConfigDict

from smoothcert.schemas.parameters import Parameters
from smoothcert.stats.procedure import Certification
from smoothcert.stats.schedule import plan_for
from smoothcert.votes import Counts, VoteRange, VoteSource

MIN_SECONDS, MAX_SECONDS = 0.25, 0.5  # of a range: what a kill may cost, and how often progress is reported
PARTS = 128  # of a large job, so that many workers end together
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
    """How one certification's votes are numbered. range_votes: None until the first range has been drawn."""

    parameters: Parameters
    range_votes: int

    @property
    def total(self) -> int:
        return -(-self.parameters.n // self.range_votes)

    def count(self, source: VoteSource, k: int) -> RangeCounts:
        """Draw range k, independently of the state of the certification."""
        start = k * self.range_votes
        stop = min(start + self.range_votes, self.parameters.n)
        selection = None if k else _selection(source, self.parameters)
        return RangeCounts(selection=selection, pieces=_pieces(source, self.parameters, start, stop))

    def merge(self, certification: Certification, folded: int, counts: Iterable[RangeCounts]) -> int:
        """Adds ranges `folded`, folded+1, ...; votes past a look that stops are left out.

        Returns how many ranges the certification covers then.
        """
        for k, counted in enumerate(counts, start=folded):
            if k == 0 and counted.selection is not None:
                certification.add(VoteRange("selection", 0, self.parameters.n0), _array(counted.selection))
            for votes, counts_K in _ranges(k * self.range_votes, counted):
                if not certification.finished:
                    certification.add(votes, counts_K)
            folded = k + 1
        return folded


def first_range(source: VoteSource, parameters: Parameters, at_once: int) -> tuple[Ranges, RangeCounts]:
    """Draws range 0 and lets its time decide how large ranges are.

    at_once: votes that the engine has under way at the same time (batch size times streams).
    """
    selection = _selection(source, parameters)
    step, drawn, start = BATCHES_EACH * at_once, 0, time.monotonic()
    pieces: list[tuple[int, tuple[int, ...]]] = []
    while drawn < parameters.n and not _is_long_enough(time.monotonic() - start, drawn, parameters.n):
        stop = min(drawn + step, parameters.n)
        pieces += _pieces(source, parameters, drawn, stop)
        drawn = stop
    return Ranges(parameters, drawn), RangeCounts(selection=selection, pieces=tuple(pieces))


def _is_long_enough(seconds: float, drawn: int, n: int) -> bool:
    return drawn > 0 and seconds >= MIN_SECONDS and (seconds >= MAX_SECONDS or drawn * PARTS >= n)


def _selection(source: VoteSource, parameters: Parameters) -> tuple[int, ...] | None:
    if parameters.procedure == "predict":
        return None
    return tuple(source.count(VoteRange("selection", 0, parameters.n0)).tolist())


def _pieces(
    source: VoteSource, parameters: Parameters, start: int, stop: int
) -> tuple[tuple[int, tuple[int, ...]], ...]:
    looks = plan_for(parameters).looks
    edges = [start, *(look.n for look in looks if start < look.n < stop), stop]
    counted = [(b, source.count(VoteRange("estimation", a, b))) for a, b in pairwise(edges)]
    return tuple((b, tuple(counts_K.tolist())) for b, counts_K in counted)


def _ranges(start: int, counted: RangeCounts) -> Iterator[tuple[VoteRange, Counts]]:
    for stop, counts in counted.pieces:
        yield VoteRange("estimation", start, stop), _array(counts)
        start = stop


def _array(counts: tuple[int, ...]) -> Counts:
    return np.array(counts, dtype=np.int64)
