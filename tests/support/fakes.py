"""Vote sources with a known answer, in place of a network."""

import numpy as np
from numpy.typing import NDArray

from smoothcert.votes import Counts, VoteRange

BLOCK = 1024  # votes drawn from one random stream


class KnownVotes:
    """A VoteSource whose classes have these probabilities; what they lack of 1 is nobody's vote.

    Vote i is a function of (seed, stage, i), so counts are additive over ranges.
    """

    slack = 0.0

    def __init__(self, probabilities: list[float], seed: int = 0) -> None:
        self.num_classes = len(probabilities)
        self._limits = np.cumsum(probabilities)
        self._seed = seed

    def count(self, votes: VoteRange) -> Counts:
        counts = np.zeros(self.num_classes + 1, dtype=np.int64)
        for block in range(votes.start // BLOCK, -(-votes.stop // BLOCK)):
            begin = block * BLOCK
            classes = self._block(votes.stage, block)[max(votes.start - begin, 0) : votes.stop - begin]
            counts += np.bincount(classes, minlength=self.num_classes + 1)
        return counts[:-1]

    def _block(self, stage: str, block: int) -> NDArray[np.int64]:
        rng = np.random.default_rng([self._seed, stage == "estimation", block])
        return np.searchsorted(self._limits, rng.random(BLOCK), side="right").astype(np.int64)


class LinearVotes:
    """sign(w.x + b) under Gaussian noise: class 1 where it is positive. Its l2 radius is |w.x + b| / |w|."""

    num_classes = 2
    slack = 0.0

    def __init__(self, weights: NDArray[np.float64], margin: float, sigma: float, seed: int) -> None:
        self._weights = weights
        self._margin = margin  # w.x + b
        self._sigma = sigma
        self._seed = seed

    @property
    def true_radius(self) -> float:
        return abs(self._margin) / float(np.linalg.norm(self._weights))

    def count(self, votes: VoteRange) -> Counts:
        rng = np.random.default_rng([self._seed, votes.stage == "estimation"])
        noise = rng.normal(scale=self._sigma, size=(votes.stop, len(self._weights)))[votes.start :]
        return np.bincount(noise @ self._weights + self._margin > 0, minlength=2).astype(np.int64)
