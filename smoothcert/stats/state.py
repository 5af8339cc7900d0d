"""The state of a certification: small enough to store, enough to resume from."""

import numpy as np
from pydantic import BaseModel, ConfigDict

from smoothcert.votes import Counts, VoteRange


class VoteCounts(BaseModel):
    """Votes of one stage. drawn: their number. counts: votes per class; they sum to at most `drawn`."""

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
        """The class with the most votes (lowest index on a tie); None before the first vote."""
        return int(self.counts_K.argmax()) if self.drawn else None

    def plus(self, votes: VoteRange, counts_K: Counts) -> "VoteCounts":
        """These counts plus those of the next range, which must start at `drawn`."""
        assert votes.start == self.drawn, f"expected votes from {self.drawn}, got {votes}"
        assert len(counts_K) == len(self.counts)
        assert counts_K.min() >= 0
        assert counts_K.sum() <= votes.votes
        return VoteCounts(drawn=votes.stop, counts=tuple((self.counts_K + counts_K).tolist()))


class CertificationState(BaseModel):
    """Everything that `Certification.resume` needs.

    best: the votes at the look with the largest radius so far (the latest on a tie); None before the first
    look.
    """

    model_config = ConfigDict(frozen=True)

    selection: VoteCounts
    estimation: VoteCounts
    best: VoteCounts | None = None

    @classmethod
    def empty(cls, num_classes: int) -> "CertificationState":
        return cls(selection=VoteCounts.empty(num_classes), estimation=VoteCounts.empty(num_classes))

    def with_selection(self, counts: VoteCounts) -> "CertificationState":
        return CertificationState(selection=counts, estimation=self.estimation, best=self.best)

    def with_estimation(self, counts: VoteCounts, best: VoteCounts | None) -> "CertificationState":
        return CertificationState(selection=self.selection, estimation=counts, best=best)
