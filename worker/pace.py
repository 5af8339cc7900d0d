"""How many votes to ask for next, so that a chunk takes the time it should."""

from dataclasses import dataclass

GROWTH = 8  # at most from one chunk to the next: the first ones are slowed by warming up


@dataclass
class Pace:
    """Follows the engine's speed. chunk: seconds. batch: votes of one forward pass."""

    chunk: float
    batch: int
    votes: int = 0  # of the next chunk
    rate: float = 0.0  # votes a second, of the last whole batches

    @property
    def wanted(self) -> int:
        """About a chunk's worth of votes, a batch at least."""
        return max(self.votes, self.batch)

    def seconds(self, votes: int) -> float:
        """How long so many votes will take; 0 while nothing is known."""
        return votes / self.rate if self.rate else 0.0

    def most(self, start: int, left: float | None = None) -> int:
        """Votes to ask for from vote `start` on, ending where a batch ends: about as many as fit into the
        `left` seconds of a chunk, by default into a whole one."""
        share = 1.0 if left is None else min(left / self.chunk, 1.0)
        wanted = max(int(self.votes * share), self.batch)
        return wanted - (start + wanted) % self.batch or self.batch

    def observe(self, votes: int, seconds: float) -> None:
        """So many votes took so long."""
        if votes < self.batch and self.votes:
            return  # cut short by a look: says little about speed
        self.rate = votes / max(seconds, 1e-6)
        self.votes = min(int(self.rate * self.chunk), GROWTH * max(votes, self.batch))
