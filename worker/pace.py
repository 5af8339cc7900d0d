"""How many votes to ask for next, so that a chunk takes the time it should."""

from dataclasses import dataclass

GROWTH = 8  # at most from one chunk to the next: the first ones are slowed by warming up


@dataclass
class Pace:
    """Follows the engine's speed. chunk: seconds. batch: votes of one forward pass."""

    chunk: float
    batch: int
    votes: int = 0  # of the next chunk

    def most(self, start: int) -> int:
        """Votes to ask for from vote `start` on: about a chunk's worth, ending where a batch ends."""
        wanted = max(self.votes, self.batch)
        return wanted - (start + wanted) % self.batch or self.batch

    def observe(self, votes: int, seconds: float) -> None:
        """So many votes took so long."""
        if votes < self.batch and self.votes:
            return  # cut short by a look: says little about speed
        fitting = int(votes * self.chunk / max(seconds, 1e-6))
        self.votes = min(fitting, GROWTH * max(votes, self.batch))
