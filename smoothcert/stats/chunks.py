"""Votes of one image counted in parts, by whoever, whenever; they are taken up in the order of the votes."""

from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np
from pydantic import BaseModel, ConfigDict

from smoothcert.stats.procedure import Certification
from smoothcert.stats.schedule import Plan
from smoothcert.votes import Counts, VoteRange, VoteSource


class Chunk(BaseModel):
    """The counts of estimation votes from `start` on, cut at every look: a look reads them up to there only.

    pieces: (stop, counts_K) of each range, in order.
    """

    model_config = ConfigDict(frozen=True)

    start: int
    pieces: tuple[tuple[int, tuple[int, ...]], ...]

    def ranges(self) -> Iterator[tuple[VoteRange, Counts]]:
        """Each range with its counts."""
        start = self.start
        for stop, counts in self.pieces:
            yield VoteRange("estimation", start, stop), np.array(counts, dtype=np.int64)
            start = stop


def count_chunk(source: VoteSource, plan: Plan, start: int, stop: int) -> Chunk:
    """Draws votes start..stop-1 of the estimation, wherever the certification itself has got to."""
    assert start < stop
    edges = [start, *(look.n for look in plan.looks if start < look.n < stop), stop]
    counted = [(b, source.count(VoteRange("estimation", a, b))) for a, b in pairwise(edges)]
    return Chunk(start=start, pieces=tuple((stop, tuple(counts_K.tolist())) for stop, counts_K in counted))


def merge(certification: Certification, parts: Mapping[int, Chunk]) -> list[int]:
    """Adds every part whose turn it is; returns their starts. Votes past a stopping look are left out.

    parts: by start, with gaps where others are still at work.
    """
    taken = []
    while not certification.finished and (part := parts.get(certification.state.estimation.drawn)):
        for votes, counts_K in part.ranges():
            if not certification.finished:
                certification.add(votes, counts_K)
        taken.append(part.start)
    return taken
