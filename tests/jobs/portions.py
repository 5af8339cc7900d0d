"""What a divided job should be, in a few lines of Python: which votes are out, came in, are in the state."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

ATTEMPTS = 4
N = 600  # votes of the job


@dataclass
class Out:
    """A portion somebody has. silent: whoever has it said nothing for too long, or put it back."""

    stop: int
    ticket: str
    worker: str
    tries: int
    silent: bool = False


@dataclass
class Divided:
    """The job's division, if it has one. number: the division's. next: the first vote that nobody had yet."""

    number: str | None = None
    next: int = 0
    out: dict[int, Out] = field(default_factory=dict)
    came_in: dict[int, int] = field(default_factory=dict)  # start -> stop, counts in the record
    brought: int = 0  # votes whose counts were ever taken

    def over(self) -> None:
        self.number = None
        self.out.clear()
        self.came_in.clear()

    def begin(self, number: str, drawn: int) -> None:
        assert number != self.number
        self.over()
        self.number, self.next = number, drawn

    def continues(self, drawn: int) -> bool:
        """Whether who has counted so many votes can go on with these portions."""
        return drawn == self.next or drawn in self.out or drawn in self.came_in

    def reported(self, drawn: int, taken_up: list[int]) -> None:
        """The state of `drawn` votes is in the record, with the counts of portions that started there."""
        for start in taken_up:
            self.came_in.pop(start, None)
        if self.number and not self.continues(drawn):
            self.over()

    def bring(self, start: int, ticket: str) -> bool:
        """Whether these counts are taken: from the last one who was given this portion, and once."""
        out = self.out.get(start)
        if out is None or out.ticket != ticket:
            return False
        self.came_in[start] = self.out.pop(start).stop
        self.brought += self.came_in[start] - start
        return True

    def abandoned(self, worker: str) -> int | None:
        """The first portion whose taker is silent, or is this worker, which has one at a time."""
        return min(
            (start for start, out in self.out.items() if out.silent or out.worker == worker), default=None
        )

    def give(self, worker: str, start: int, stop: int, ticket: str) -> None:
        """A portion goes to this worker: an abandoned one again, or new votes."""
        again = self.abandoned(worker)
        if again is None:
            assert start == self.next
            assert start < stop <= N
            self.next = stop
            tries = 0
        else:
            assert (start, stop) == (again, self.out[again].stop)
            tries = self.out[again].tries
        assert ticket not in {out.ticket for out in self.out.values()}
        self.out[start] = Out(stop, ticket, worker, tries + 1)

    def heard_of(self, worker: str) -> None:
        for out in self.out.values():
            if out.worker == worker:
                out.silent = False

    def pieces(self, drawn: int) -> Iterator[tuple[int, int]]:
        """Start and stop of all that lies past the first `drawn` votes, in order."""
        spans = {start: out.stop for start, out in self.out.items()} | self.came_in
        yield from sorted((start, stop) for start, stop in spans.items() if start >= drawn)

    def has_every_vote_once(self, drawn: int) -> bool:
        """Each vote is in the state, came in, is out or is still to be given."""
        edges = [(0, drawn), *self.pieces(drawn), (self.next, N)]
        return all(stop == start for (_, stop), (start, _) in pairwise(edges))
