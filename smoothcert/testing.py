"""Vote sources whose answer is known, in place of a network: to test procedures, bounds and stopping rules.

    from smoothcert.schemas.parameters import Parameters
    from smoothcert.stats.procedure import Certification, drive
    from smoothcert.testing import KnownVotes

    certification = Certification(Parameters(sigma=0.5, n=10_000), num_classes=3)
    for _ in drive(certification, KnownVotes([0.02, 0.93, 0.05], seed=1), 1000):
        pass
    certification.result.radius

Both classes are a `smoothcert.votes.VoteSource`.
"""

import numpy as np
from numpy.typing import NDArray

from smoothcert.votes import Counts, VoteRange

_BLOCK = 1024  # votes that come from one random stream


class KnownVotes:
    """Each vote falls on class k with probability `probabilities[k]`, independently of the others.

    Vote i is a function of (seed, stage, i), so counts of adjoining ranges add up. If the probabilities sum
    to less than 1, the rest of the votes is dropped: it counts towards n, but for no class. slack is 0.
    """

    slack = 0.0
    at_once = _BLOCK

    def __init__(self, probabilities: list[float], seed: int = 0) -> None:
        """probabilities: one for each class, summing to at most 1."""
        self.num_classes = len(probabilities)
        self._limits = np.cumsum(probabilities)
        self._seed = seed

    def count(self, votes: VoteRange, until: int = 0) -> Counts:
        """Votes per class in this range, shape (K,). until: of no effect."""
        counts = np.zeros(self.num_classes + 1, dtype=np.int64)
        for block in range(votes.start // _BLOCK, -(-votes.stop // _BLOCK)):
            begin = block * _BLOCK
            classes = self._block(votes.stage, block)[max(votes.start - begin, 0) : votes.stop - begin]
            counts += np.bincount(classes, minlength=self.num_classes + 1)
        return counts[:-1]

    def _block(self, stage: str, block: int) -> NDArray[np.int64]:
        rng = np.random.default_rng([self._seed, stage == "estimation", block])
        return np.searchsorted(self._limits, rng.random(_BLOCK), side="right").astype(np.int64)


class LinearVotes:
    """A linear classifier under Gaussian noise, whose exact radius is known.

    Two classes: 1 where w·x + b > 0. The smoothed classifier is the same classifier. Its ℓ2 radius at x is
    |w·x + b| / |w|, whatever sigma is. slack is 0.
    """

    num_classes = 2
    slack = 0.0

    def __init__(self, weights: NDArray[np.float64], margin: float, sigma: float, seed: int) -> None:
        """weights: w, shape (D,). margin: w·x + b at the image."""
        self._weights = weights
        self._margin = margin
        self._sigma = sigma
        self._seed = seed

    @property
    def true_radius(self) -> float:
        """ℓ2, in the units of x."""
        return abs(self._margin) / float(np.linalg.norm(self._weights))

    def count(self, votes: VoteRange) -> Counts:
        """Votes per class in this range, shape (2,)."""
        rng = np.random.default_rng([self._seed, votes.stage == "estimation"])
        noise = rng.normal(scale=self._sigma, size=(votes.stop, len(self._weights)))[votes.start :]
        return np.bincount(noise @ self._weights + self._margin > 0, minlength=2).astype(np.int64)
