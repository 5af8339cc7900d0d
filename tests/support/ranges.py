"""Ranges of a known size, in place of those that the engine's speed decides."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import worker.drawing
from smoothcert.schemas.parameters import Parameters
from smoothcert.stats.ranges import RangeCounts, Ranges
from smoothcert.votes import BatchedVotes


@contextmanager
def ranges_of(votes: int) -> Iterator[None]:
    """Every range has so many estimation votes."""

    def first_range(source: BatchedVotes, parameters: Parameters) -> tuple[Ranges, RangeCounts]:
        ranges = Ranges(parameters, votes, votes)
        return ranges, ranges.count(source, 0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker.drawing, "first_range", first_range)
        yield
