"""The seam between statistics and networks: a range of votes goes out, counts per class come back."""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Stage = Literal["selection", "estimation"]
Counts = NDArray[np.int64]  # counts_K: votes per class
NO_CLASS = -1  # the answer to an input whose scores are not all finite: counted in n, for no class


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
    """One (network, image, seed): vote i is a fixed function of (seed, stage, i), however it is asked for.

    Additive: count(a, b) + count(b, c) == count(a, c). Counts sum to at most the votes asked for: a vote for
    no class (NO_CLASS) still counts in n. slack: total variation between
    the law of one vote's drawn noise and the Gaussian's, clipped tails included; the bounds take it off.
    """

    num_classes: int
    slack: float

    def count(self, votes: VoteRange) -> Counts: ...
