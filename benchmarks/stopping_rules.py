"""Rules for when to stop drawing votes, over many images at once: alpha spent at looks, mixtures.

Legend: N images; k_N votes of the top class, j_N of the runner-up, after n votes; radii in l2 like sigma.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from populations import Floats, Population
from scipy import special, stats

from certification.contract.parameters import Parameters
from certification.procedure import Certification, drive
from certification.stopping import DOUBT
from tests.certification.fakes import KnownVotes

N = 100_000
ALPHA = 0.001

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Question:
    """What is asked about each image: is R >= target, R up to a share, or (neither) the largest R."""

    target: float | None = None
    tolerance: float | None = None

    def is_answered(self, proved_N: Floats, optimistic_N: Floats) -> NDArray[np.bool_]:
        if self.target is not None:
            return (proved_N >= self.target) | (optimistic_N < self.target)
        if self.tolerance is not None:
            return proved_N >= (1 - self.tolerance) * optimistic_N
        return np.zeros(len(proved_N), dtype=bool)


@dataclass(frozen=True)
class Answers:
    """Radius proved and votes spent, image by image."""

    radius_N: Floats
    votes_N: Ints


class Reader(Protocol):
    """A rule: when it looks, and the radius it reads there."""

    name: str

    def looks(self) -> list[int]: ...

    def radius(self, k_N: Ints, j_N: Ints, look: int, sigma: float) -> Floats: ...


@dataclass(frozen=True)
class Spending:
    """Clopper-Pearson at looks: `final` of alpha at the last, the rest evenly; `share` for the runner-up."""

    name: str
    votes: tuple[int, ...]
    final: float = 0.9
    share: float = 0.1

    def looks(self) -> list[int]:
        return list(self.votes)

    def radius(self, k_N: Ints, j_N: Ints, look: int, sigma: float) -> Floats:
        early = (1 - self.final) * ALPHA / max(1, len(self.votes) - 1)
        alpha, n = (self.final * ALPHA if look == N else early), look
        lower_N = lower(k_N, n, alpha * (1 - self.share))
        upper_N = 1 - lower_N
        if self.share:
            upper_N = np.minimum(upper_N, upper(j_N, n, alpha * self.share))
        return between(lower_N, upper_N, sigma)


@dataclass(frozen=True)
class Mixture:
    """The beta-binomial confidence sequence with prior Beta(a, b), one-sided; valid at every n."""

    name: str
    a: float
    b: float

    def looks(self) -> list[int]:
        return geometric(20, 1.05)

    def radius(self, k_N: Ints, j_N: Ints, look: int, sigma: float) -> Floats:
        low_N, high_N = np.zeros(len(k_N)), k_N / look
        for _ in range(50):  # below k/n the evidence against p falls as p grows
            middle_N = (low_N + high_N) / 2
            excluded_N = self._evidence(k_N, look, middle_N) > math.log(1 / ALPHA)
            low_N, high_N = np.where(excluded_N, middle_N, low_N), np.where(excluded_N, high_N, middle_N)
        return between(low_N, 1 - low_N, sigma)

    def _evidence(self, k_N: Ints, n: int, p_N: Floats) -> Floats:
        against_N = special.xlogy(k_N, p_N) + special.xlog1py(n - k_N, -p_N)
        prior = special.betaln(k_N + self.a, n - k_N + self.b) - special.betaln(self.a, self.b)
        return np.asarray(prior - against_N)


def fitted_mixture(others: Population) -> Mixture:
    """A mixture whose prior is the maximum-likelihood beta distribution of other images' top shares."""
    top_N = np.clip(others.top_N, 1e-6, 1 - 1e-6)
    a, b, *_ = stats.beta.fit(top_N, floc=0, fscale=1)
    return Mixture(f"mixture, prior fitted: Beta({a:.2f}, {b:.2f})", float(a), float(b))


def geometric(first: int, ratio: float) -> list[int]:
    steps = round(math.log(N / first, ratio))
    return sorted({round(first * (N / first) ** (i / steps)) for i in range(steps + 1)})


def lower(k_N: Ints, n: int, alpha: float) -> Floats:
    return np.where(k_N > 0, special.betaincinv(np.maximum(k_N, 1), n - k_N + 1, alpha), 0.0)


def upper(k_N: Ints, n: int, alpha: float) -> Floats:
    return np.where(k_N < n, special.betainccinv(k_N + 1, np.maximum(n - k_N, 1), alpha), 1.0)


def between(lower_N: Floats, upper_N: Floats, sigma: float) -> Floats:
    radius_N = sigma / 2 * (special.ndtri(lower_N) - special.ndtri(upper_N))
    return np.where(lower_N > upper_N, radius_N, 0.0)


def ask(rule: Reader, images: Population, question: Question, rng: np.random.Generator) -> Answers:
    """Draw each image's votes look by look until its question is answered."""
    size = len(images.top_N)
    k_N, j_N, drawn = np.zeros(size, np.int64), np.zeros(size, np.int64), 0
    best_N, votes_N, open_N = np.zeros(size), np.full(size, N), np.ones(size, dtype=bool)
    for look in rule.looks():
        more_N = rng.binomial(look - drawn, images.top_N)
        next_N = np.minimum(
            images.next_N / np.maximum(1 - images.top_N, 1e-12), 1.0
        )  # rounded, it may pass 1
        j_N += rng.binomial(look - drawn - more_N, next_N)
        k_N, drawn = k_N + more_N, look
        best_N = np.where(open_N, np.maximum(best_N, rule.radius(k_N, j_N, look, images.sigma)), best_N)
        stops_N = open_N & question.is_answered(best_N, optimist(rule, k_N, j_N, look, images.sigma))
        votes_N[stops_N] = look
        open_N &= ~stops_N
    return Answers(best_N, votes_N)


def optimist(rule: Reader, k_N: Ints, j_N: Ints, drawn: int, sigma: float) -> Floats:
    """As certification.stopping: the votes to come fall at the confidence limits of the shares so far."""
    left = N - drawn
    j_more_N = np.floor(left * lower(j_N, drawn, DOUBT)).astype(np.int64)
    k_more_N = np.minimum(left - j_more_N, np.ceil(left * upper(k_N, drawn, DOUBT)).astype(np.int64))
    return rule.radius(k_N + k_more_N, j_N + j_more_N, N, sigma)


def ask_the_product(images: Population, question: Question) -> Answers:
    """The same by certification.procedure itself, selection votes and all."""
    wish = {"target_radius": question.target, "tolerance": question.tolerance}
    parameters = Parameters.model_validate({"sigma": images.sigma, "n": N, "alpha": ALPHA} | wish)
    answers = [
        _certify(parameters, [top, second, (1 - top - second) / 2, (1 - top - second) / 2], seed)
        for seed, (top, second) in enumerate(zip(images.top_N, images.next_N, strict=True))
    ]
    return Answers(np.array([radius for radius, _ in answers]), np.array([votes for _, votes in answers]))


def _certify(parameters: Parameters, shares: list[float], seed: int) -> tuple[float, int]:
    certification = Certification(parameters, len(shares))
    for _ in drive(certification, KnownVotes(shares, seed), N):
        pass
    result = certification.result
    return (result.radius if result.predicted_class == 0 else 0.0), result.drawn
