"""The interface between statistics and networks: a range of votes is requested, counts per class come back.

A vote is the class that the base classifier gives to one noisy copy of the image.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Stage = Literal["selection", "estimation"]
Counts = NDArray[np.int64]  # counts_K: votes per class
NO_CLASS = -1  # the answer if scores are not all finite: the vote counts in n, for no class


@dataclass(frozen=True)
class VoteRange:
    """Votes start..stop-1 of one stage. Selection and estimation use independent random streams."""

    stage: Stage
    start: int
    stop: int

    @property
    def votes(self) -> int:
        return self.stop - self.start


class VoteSource(Protocol):
    """The votes of one (network, image, seed). Vote i is a fixed function of (seed, stage, i).

    Counts are additive: count(a, b) + count(b, c) == count(a, c). They may sum to less than the votes
    requested: a vote for NO_CLASS still counts in n. slack: total variation between the drawn noise of one
    vote and the Gaussian, clipped tails included; the bounds subtract it.
    """

    num_classes: int
    slack: float

    def count(self, votes: VoteRange) -> Counts: ...


class BatchedVotes(VoteSource, Protocol):
    """A source that computes votes in batches. at_once: votes under way at the same time.

    until: the votes from votes.stop to here are expected next; the source may start them.
    """

    at_once: int

    def count(self, votes: VoteRange, until: int = 0) -> Counts: ...
