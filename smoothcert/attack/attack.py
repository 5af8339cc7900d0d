"""Attack a certificate inside its radius, where no attack should succeed, and outside, to measure the gap.

A certificate claims that no perturbation eta with norm below its radius changes the class of the smoothed
classifier g. The attack searches for one by PGD; a PREDICT with fresh votes (Cohen et al. 2019) decides
whether g's class changed. An adversarial example outside the radius bounds the true radius from above.

Radii and norms are l2, pixels in [0,1].
"""

import copy
import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn

from smoothcert.attack.pgd import Goal, RealSampler, Surrogate, real_voter, within
from smoothcert.engines.config import EngineConfig
from smoothcert.schemas.certificate import Shape
from smoothcert.stats.procedure import predicts
from smoothcert.votes import VoteRange

INSIDE = 0.999  # share of the certified radius that the first attempt uses
GROWTH = 1.25  # factor between two radii outside the certified one
SCREEN_VOTES = 500  # a check stops after these if they prove that the class did not change
SCREEN_ALPHA = 1e-4


@dataclass(frozen=True)
class Budget:
    """Limits of the attack on one image.

    restarts: PGD runs at each radius. noises: noise samples in each PGD step. votes: samples of each PREDICT.
    inside_votes: samples inside the claimed radius, where a change refutes the claim; drawn only as far as
    needed. alpha: probability that any adversarial example of an image is a false alarm, shared among checks.
    farthest: largest radius to try, as a multiple of the certified one. halvings: bisection steps after the
    first adversarial example outside the radius. bare_steps: DDN steps on the bare network, or 0.
    """

    restarts: int = 5
    steps: int = 20
    noises: int = 32
    votes: int = 10_000
    inside_votes: int = 200_000
    alpha: float = 0.001
    farthest: float = 4.0
    halvings: int = 5
    bare_steps: int = 100

    @property
    def radii(self) -> int:
        """The maximum number of attempts on one image."""
        return 1 + math.ceil(math.log(max(1.0, self.farthest / INSIDE), GROWTH)) + self.halvings

    @property
    def alpha_per_check(self) -> float:
        return self.alpha / (self.radii * (self.restarts + 1))

    @property
    def inside_looks(self) -> tuple[int, ...]:
        """The numbers of votes after which a check inside the radius is decided if it can be: doublings."""
        looks = [self.votes]
        while looks[-1] < self.inside_votes:
            looks.append(min(2 * looks[-1], self.inside_votes))
        return tuple(looks)

    def resolution(self, sigma: float) -> float:
        """By how much a radius must be too large to be refuted, half of the time, at a flat boundary.

        PGD is assumed to find the direction. l2, pixels in [0,1].
        """
        looks = self.inside_looks
        alpha = self.alpha_per_check / len(looks)
        least = stats.binom.isf(alpha / 2, looks[-1], 0.5) + 1
        return float(sigma * stats.norm.ppf(least / looks[-1]))


@dataclass(frozen=True)
class Claim:
    """The claim under attack: g predicts this class within `radius` of the image (uint8, C,H,W)."""

    image_CHW: NDArray[np.uint8]
    predicted: int
    radius: float


@dataclass(frozen=True, eq=False)
class AdversarialExample:
    """A perturbation for which PREDICT returns the class `reached`. eta_CHW: float64. norm: l2."""

    norm: float
    reached: int
    eta_CHW: NDArray[np.float64]


@dataclass(frozen=True)
class Attempt:
    """The PGD runs at one radius, up to the first adversarial example. checks: PREDICTs made."""

    radius: float
    checks: int
    found: AdversarialExample | None


@dataclass(frozen=True)
class AttackResult:
    """The outcome for one claim. broken: norm of the smallest adversarial example, or None."""

    radius: float
    broken: float | None
    checks: int

    @property
    def holds(self) -> bool:
        """Whether no adversarial example lies inside the certified radius."""
        return self.broken is None or self.broken >= self.radius

    @classmethod
    def of(cls, claim: Claim, attempts: Sequence[Attempt]) -> "AttackResult":
        norms = [attempt.found.norm for attempt in attempts if attempt.found]
        return cls(claim.radius, min(norms, default=None), sum(attempt.checks for attempt in attempts))


class Attacker:
    """Attacks one network at one noise level. Every PREDICT runs the classifier of this engine config."""

    def __init__(
        self,
        network: nn.Module,
        shape_CHW: Shape,
        num_classes: int,
        *,
        config: EngineConfig,
        sigma: float,
        budget: Budget,
    ) -> None:
        """Raises InvalidRequest: invalid engine config; InternalError: it can't run on this machine."""
        self.sigma = sigma
        self.budget = budget
        self.voter = real_voter(network, shape_CHW, num_classes, config)
        self._network = copy.deepcopy(network)  # Surrogate disables the gradients of its parameters
        self._config = config

    def surrogate(self, seed: int) -> Surrogate:
        """The network whose gradient PGD follows, with noise of its own."""
        return Surrogate(
            self._network,
            self.sigma,
            self.budget.noises,
            device=self._config.device,
            threads=self._config.threads,
            seed=seed,
        )

    def attempts(self, claim: Claim, seed: int) -> Iterator[Attempt]:
        """Just inside the radius, then at growing radii until one is broken, then bisection."""
        session, low = _AttackSession(self, claim, seed), 0.0
        furthest = self.budget.farthest * claim.radius
        yield (attempt := session.attempt(INSIDE * claim.radius))
        while attempt.found is None and attempt.radius < furthest:
            low = attempt.radius
            yield (attempt := session.attempt(min(GROWTH * low, furthest)))
        if attempt.found is not None:
            yield from session.bisect(low, attempt.found)


class _AttackSession:
    """The attack on one claim. It numbers its checks, so that each draws its own noise."""

    def __init__(self, attacker: Attacker, claim: Claim, seed: int) -> None:
        self._attacker = attacker
        self._budget = attacker.budget
        self._claim = claim
        self._seed = seed
        self._checks = 0
        # 63 bits, the most that torch accepts. The word "climb" must stay: it decides the noise of a seed.
        self._surrogate = attacker.surrogate(_derived(seed, "climb") >> 65)
        self._image_CHW = torch.from_numpy(claim.image_CHW.astype(np.float64) / 255)
        other_classes = self._surrogate.other_classes(self._image_CHW, claim.predicted)
        self._goals = [Goal(claim.predicted), *(Goal(claim.predicted, other) for other in other_classes)]

    def attempt(self, radius: float, start_CHW: Tensor | None = None) -> Attempt:
        """Search within a radius; `start_CHW` is checked first, if given."""
        before = self._checks
        found = None if start_CHW is None else self._check(within(start_CHW, radius), radius)
        for restart in range(self._budget.restarts):
            if found is not None:
                break
            found = self._check(self._pgd(radius, restart, start_CHW), radius)
        return Attempt(radius, self._checks - before, found)

    def bisect(self, low: float, found: AdversarialExample) -> Iterator[Attempt]:
        """Bisect between the radius `low`, where the attack failed, and an adversarial example."""
        for _ in range(self._budget.halvings):
            attempt = self.attempt((low + found.norm) / 2, torch.from_numpy(found.eta_CHW))
            yield attempt
            if attempt.found is None:
                low = attempt.radius
            else:
                found = attempt.found

    def _pgd(self, radius: float, restart: int, start_CHW: Tensor | None) -> Tensor:
        """One PGD run. Restart 0 starts at the image or at `start_CHW`, the others in a random direction."""
        if restart > 0:
            start_CHW = radius * self._surrogate.direction(self._image_CHW)
        elif start_CHW is None:
            start_CHW = torch.zeros_like(self._image_CHW)
        goal = self._goals[restart % len(self._goals)]
        return self._surrogate.pgd_attack(self._image_CHW, goal, radius, start_CHW, self._budget.steps)

    def _check(self, eta_CHW: Tensor, radius: float) -> AdversarialExample | None:
        """An adversarial example if PREDICT, on fresh noise, returns another class at x + eta; else None."""
        self._checks += 1
        looks = self._budget.inside_looks if radius < self._claim.radius else (self._budget.votes,)
        reached = self._predict((self._image_CHW + eta_CHW).numpy(), looks)
        if reached is None or reached == self._claim.predicted:
            return None
        return AdversarialExample(float(torch.linalg.vector_norm(eta_CHW)), reached, eta_CHW.numpy())

    def _predict(self, image_CHW: NDArray[np.float64], looks: tuple[int, ...]) -> int | None:
        """g's class, or None if PREDICT abstains at every look. alpha is shared among the looks."""
        attacker, predicted = self._attacker, self._claim.predicted
        seed = _derived(self._seed, f"check {self._checks}")
        source = RealSampler(attacker.voter, image_CHW, attacker.sigma, seed)
        alpha = self._budget.alpha_per_check / len(looks)
        drawn, counts_K = 0, np.zeros(source.num_classes, dtype=np.int64)
        for n in sorted({min(SCREEN_VOTES, looks[0]), *looks}):
            counts_K = counts_K + source.count(VoteRange("estimation", drawn, n))
            drawn = n
            if counts_K.argmax() == predicted and predicts(counts_K, n, SCREEN_ALPHA):
                return predicted
            if n in looks and predicts(counts_K, n, alpha, slack=source.slack):
                return int(counts_K.argmax())
        return None


def _derived(seed: int, what: str) -> int:
    """A 128-bit seed for one purpose."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{what}".encode()).digest()[:16], "big")
