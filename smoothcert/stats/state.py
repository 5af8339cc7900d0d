"""What has been counted so far, small enough to store and enough to go on from."""

import numpy as np
from pydantic import BaseModel, ConfigDict

from smoothcert.votes import Counts, VoteRange


class VoteCounts(BaseModel):
    """Votes drawn in one stage, and how they fell. The counts sum to `drawn`, less nobody's."""

    model_config = ConfigDict(frozen=True)

    drawn: int = 0
    counts: tuple[int, ...]

    @classmethod
    def empty(cls, num_classes: int) -> "VoteCounts":
        return cls(counts=(0,) * num_classes)

    @property
    def counts_K(self) -> Counts:  # noqa: N802
        return np.array(self.counts, dtype=np.int64)

    @property
    def leader(self) -> int | None:
        """The class with the most votes, the lowest of equals; None before the first vote."""
        return int(self.counts_K.argmax()) if self.drawn else None

    def plus(self, votes: VoteRange, counts_K: Counts) -> "VoteCounts":
        """With the next range of votes, which starts where this tally ends."""
        assert votes.start == self.drawn, f"expected votes from {self.drawn}, got {votes}"
        assert len(counts_K) == len(self.counts)
        assert counts_K.min() >= 0
        assert counts_K.sum() <= votes.votes
        return VoteCounts(drawn=votes.stop, counts=tuple((self.counts_K + counts_K).tolist()))


class CertificationState(BaseModel):
    """All that a certification knows; `Certification.resume` continues from it as if nothing had happened.

    best: the votes at the look that has proved the most so far (the latest of equals); None before the
    first look.
    """

    model_config = ConfigDict(frozen=True)

    selection: VoteCounts
    estimation: VoteCounts
    best: VoteCounts | None = None

    @classmethod
    def empty(cls, num_classes: int) -> "CertificationState":
        return cls(selection=VoteCounts.empty(num_classes), estimation=VoteCounts.empty(num_classes))

    def with_selection(self, tally: VoteCounts) -> "CertificationState":
        return CertificationState(selection=tally, estimation=self.estimation, best=self.best)

    def with_estimation(self, tally: VoteCounts, best: VoteCounts | None) -> "CertificationState":
        return CertificationState(selection=self.selection, estimation=tally, best=best)
