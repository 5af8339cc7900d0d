"""Which batch a vote belongs to: vote i of a stage is row i % size of batch i // size, for ever."""

from collections.abc import Iterator
from dataclasses import dataclass

from smoothcert.votes import VoteRange


@dataclass(frozen=True)
class Batch:
    """One forward pass. All rows are evaluated (one shape, one function), rows first..last-1 are counted."""

    index: int
    first: int
    last: int


def batches(votes: VoteRange, size: int) -> Iterator[Batch]:
    """The batches that a range of votes touches, in order; the first and the last may count in part."""
    assert 0 <= votes.start <= votes.stop
    for index in range(votes.start // size, -(-votes.stop // size)):
        begin = index * size
        yield Batch(index, max(votes.start - begin, 0), min(votes.stop - begin, size))
