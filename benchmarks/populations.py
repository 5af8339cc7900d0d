"""Vote probabilities of many images to try stopping rules on: a published curve's, or a log's."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

# Certified accuracy at l2 radii on every 20th MNIST test image (LeNet, Consistency `kl_entropy`; published
# logs' mean), closed by a guess near the largest radius that n = 100 000 votes can prove, 3.81 sigma.
CURVES = {
    0.5: ([0, 0.5, 1.0, 1.5, 1.75, 1.9], [0.982, 0.962, 0.916, 0.765, 0.572, 0.30]),
    1.0: ([0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.5], [0.936, 0.885, 0.785, 0.622, 0.406, 0.208, 0.02]),
}
RUNNER_UP_SHARE = 0.7  # a guess: the runner-up's part of the votes that miss the top class


@dataclass(frozen=True)
class Population:
    """Images by their vote probabilities: the top class's and the runner-up's; is the top class right?"""

    sigma: float
    top_N: Floats
    next_N: Floats
    right_N: NDArray[np.bool_]

    def halves(self) -> tuple["Population", "Population"]:
        """Every second image, and the others: what is fitted on the one half may be used on the other."""
        return self._taking(slice(0, None, 2)), self._taking(slice(1, None, 2))

    def repeated(self, times: int) -> "Population":
        """Every image `times` times, for less noise in the averages."""
        return self._taking(np.tile(np.arange(len(self.top_N)), times))

    def _taking(self, which: slice | NDArray[np.int64]) -> "Population":
        return Population(self.sigma, self.top_N[which], self.next_N[which], self.right_N[which])


def published(sigma: float, images: int = 500) -> Population:
    """Images whose radii follow the published curve; misclassified ones have top shares from 0.4 to 0.9."""
    radii, shares = CURVES[sigma]
    quantile_N = (np.arange(images) + 0.5) / images
    right_N = quantile_N < shares[0]
    radius_N = np.interp(quantile_N, [0, *shares[::-1]], [radii[-1] * 1.1, *radii[::-1]])
    top_N = stats.norm.cdf(radius_N / sigma)
    top_N[~right_N] = np.linspace(0.9, 0.4, int((~right_N).sum()))
    return Population(sigma, top_N, RUNNER_UP_SHARE * (1 - top_N), right_N)


def from_log(path: Path) -> Population:
    """The images of an `evaluate` log that keeps its counts, at their observed vote shares."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    counts_NK = np.array([[int(c) for c in row["counts"].split(",")] for row in rows])
    n_N = np.array([int(row["n"]) for row in rows])
    sorted_NK = np.sort(counts_NK, axis=1) / n_N[:, None]
    label_N = np.array([int(row["label"]) for row in rows])
    right_N = counts_NK.argmax(axis=1) == label_N
    return Population(float(rows[0]["sigma"]), sorted_NK[:, -1], sorted_NK[:, -2], right_N)
