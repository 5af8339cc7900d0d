"""How often a statement about a data set is false, by simulation: `python -m tests.support.coverage 20000`.

The distribution is known: p_A of an image is drawn from a Beta distribution that puts much mass near the
radius in question. An evaluation draws images, and for each the votes; a certificate is wrong with a
probability of up to alpha. The statement is false if its `at_least` exceeds the true share.
"""

import sys
from functools import cache
from itertools import product

import numpy as np
from scipy import special, stats

from smoothcert.stats.statement import at_least

VOTES = 100
SIGMA = 0.5
HARD = 12.0, 4.0  # parameters of the Beta distribution of p_A


def share_of_false_statements(
    images: int, alpha: float, *, beta: float, runs: int, seed: int, p_r: float = 0.7
) -> float:
    """The share of `runs` evaluations whose statement at radius sigma * Phi^-1(p_r) is false."""
    random = np.random.default_rng(seed)
    true_share = float(stats.beta.sf(p_r, *HARD))
    p_lower_K = special.betaincinv(np.arange(1, VOTES + 1), VOTES - np.arange(VOTES), alpha)
    least = int(np.searchsorted(p_lower_K, p_r, side="right")) + 1  # votes that certify beyond the radius
    p_RN = random.beta(*HARD, size=(runs, images))
    right_R = (random.binomial(VOTES, p_RN) >= least).sum(axis=1)
    bound = cache(lambda right: at_least(right, images, beta, alpha))
    return float(np.mean([bound(int(right)) > true_share for right in right_R]))


def worst_case(
    images: int, alpha: float, *, beta: float, runs: int, seed: int, forgotten: float = 0.0
) -> float:
    """The same where whatever is not right is certified as often as alpha allows.

    forgotten: the part of alpha that the bound does not subtract.
    """
    random = np.random.default_rng(seed)
    true_share = 0.8
    right_R = random.binomial(images, true_share + (1 - true_share) * alpha, size=runs)
    bound = cache(lambda right: at_least(right, images, beta, alpha - forgotten))
    return float(np.mean([bound(int(right)) > true_share for right in right_R]))


def main(runs: int) -> None:
    print("| images | α | β | false, votes drawn | false, worst case |\n|--:|--:|--:|--:|--:|")
    for images, alpha, beta in product((50, 500, 2000), (0.001, 0.05), (0.05, 0.01)):
        drawn = share_of_false_statements(images, alpha, beta=beta, runs=runs, seed=0)
        worst = worst_case(images, alpha, beta=beta, runs=runs, seed=0)
        print(f"| {images} | {alpha} | {beta} | {100 * drawn:.2f} % | {100 * worst:.2f} % |")


if __name__ == "__main__":
    main(int(sys.argv[1]))
