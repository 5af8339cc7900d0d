"""Trying to break a certificate: inside its radius, where nothing should, and outside, to see the gap.

A certificate says that no eta shorter than its radius changes the class of the smoothed classifier g. The
attack looks for one by PGD and lets a fresh PREDICT (Cohen et al. 2019) say whether g's class really changed.
What PGD finds outside the radius is an upper bound of the true one: the gap between proved and broken.

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
from torch import Tensor, nn

from smoothcert.attack.pgd import Goal, Surrogate, within
from smoothcert.attack.real_inputs import RealSampler, real_voter
from smoothcert.engines.config import EngineConfig
from smoothcert.schemas.certificate import Shape
from smoothcert.stats.procedure import predicts
from smoothcert.votes import VoteRange

INSIDE = 0.999  # of the radius
GROWTH = 1.25  # from one radius outside to the next
SCREEN_VOTES = 500  # where these prove that the class stands, the others are saved
SCREEN_ALPHA = 1e-4


@dataclass(frozen=True)
class Budget:
    """What the attack may spend on one image.

    restarts: of PGD at each radius; noises: in each of its steps. votes, alpha: PREDICT's, with alpha shared
    among all checks of an image, so that a break is a false alarm with at most this probability.
    farthest: multiple of the certified radius; halvings: of the bracket, once something broke outside.
    """

    restarts: int = 5
    steps: int = 20
    noises: int = 32
    votes: int = 10_000
    alpha: float = 0.001
    farthest: float = 4.0
    halvings: int = 5

    @property
    def radii(self) -> int:
        """Attempts on an image at most."""
        return 1 + math.ceil(math.log(max(1.0, self.farthest / INSIDE), GROWTH)) + self.halvings

    @property
    def alpha_per_check(self) -> float:
        return self.alpha / (self.radii * (self.restarts + 1))


@dataclass(frozen=True)
class Claim:
    """What is attacked: g answers `answer` within `radius` of this image (uint8, C,H,W)."""

    image_CHW: NDArray[np.uint8]
    answer: int
    radius: float


@dataclass(frozen=True, eq=False)
class AdversarialExample:
    """A perturbation of this norm where g answers `reached`, by PREDICT. eta_CHW: float64."""

    norm: float
    reached: int
    eta_CHW: NDArray[np.float64]


@dataclass(frozen=True)
class Attempt:
    """All restarts at one radius, or as many as it took."""

    radius: float
    checks: int
    found: AdversarialExample | None


@dataclass(frozen=True)
class AttackResult:
    """What became of one claim. broken: the smallest radius at which it broke, None where nothing did."""

    radius: float
    broken: float | None
    checks: int

    @property
    def holds(self) -> bool:
        """Nothing broke inside the radius."""
        return self.broken is None or self.broken >= self.radius

    @classmethod
    def of(cls, claim: Claim, attempts: Sequence[Attempt]) -> "AttackResult":
        norms = [attempt.found.norm for attempt in attempts if attempt.found]
        return cls(claim.radius, min(norms, default=None), sum(attempt.checks for attempt in attempts))


class Attacker:
    """One network under one set-up, attacked at one noise level: every PREDICT asks the very f of `setup`."""

    def __init__(
        self,
        network: nn.Module,
        shape_CHW: Shape,
        num_classes: int,
        *,
        setup: EngineConfig,
        sigma: float,
        budget: Budget,
    ) -> None:
        """Raises InvalidRequest for a set-up that makes no sense, Failure for one that can't run here."""
        self.sigma = sigma
        self.budget = budget
        self.voter = real_voter(network, shape_CHW, num_classes, setup)
        self._network = copy.deepcopy(network)  # its gradients are switched off
        self._setup = setup

    def surrogate(self, seed: int) -> Surrogate:
        """The network to pgd_attack, with noise of its own."""
        return Surrogate(
            self._network,
            self.sigma,
            self.budget.noises,
            device=self._setup.device,
            threads=self._setup.threads,
            seed=seed,
        )

    def attempts(self, claim: Claim, seed: int) -> Iterator[Attempt]:
        """Just inside the radius; then ever farther until something breaks; then back as far as it breaks."""
        siege, low = _Siege(self, claim, seed), 0.0
        furthest = self.budget.farthest * claim.radius
        yield (attempt := siege.attempt(INSIDE * claim.radius))
        while attempt.found is None and attempt.radius < furthest:
            low = attempt.radius
            yield (attempt := siege.attempt(min(GROWTH * low, furthest)))
        if attempt.found is not None:
            yield from siege.close_in(low, attempt.found)


class _Siege:
    """One claim under attack: counts its checks, so that each has its own noise."""

    def __init__(self, attacker: Attacker, claim: Claim, seed: int) -> None:
        self._attacker = attacker
        self._budget = attacker.budget
        self._claim = claim
        self._seed = seed
        self._checks = 0
        self._surrogate = attacker.surrogate(_derived(seed, "pgd_attack") >> 65)
        self._image_CHW = torch.from_numpy(claim.image_CHW.astype(np.float64) / 255)
        rivals = self._surrogate.rivals(self._image_CHW, claim.answer)
        self._goals = [Goal(claim.answer), *(Goal(claim.answer, rival) for rival in rivals)]

    def attempt(self, radius: float, start_CHW: Tensor | None = None) -> Attempt:
        """Look for a break within a radius; from `start_CHW` first, where there is one."""
        before = self._checks
        found = None if start_CHW is None else self._check(within(start_CHW, radius))
        for restart in range(self._budget.restarts):
            if found is not None:
                break
            found = self._check(self._climb(radius, restart, start_CHW))
        return Attempt(radius, self._checks - before, found)

    def close_in(self, low: float, found: AdversarialExample) -> Iterator[Attempt]:
        """Halve the distance between a radius where nothing broke and a break."""
        for _ in range(self._budget.halvings):
            attempt = self.attempt((low + found.norm) / 2, torch.from_numpy(found.eta_CHW))
            yield attempt
            if attempt.found is None:
                low = attempt.radius
            else:
                found = attempt.found

    def _climb(self, radius: float, restart: int, start_CHW: Tensor | None) -> Tensor:
        """The first restart begins at the image or at a known break, the others anywhere."""
        if restart > 0:
            start_CHW = radius * self._surrogate.direction(self._image_CHW)
        elif start_CHW is None:
            start_CHW = torch.zeros_like(self._image_CHW)
        goal = self._goals[restart % len(self._goals)]
        return self._surrogate.pgd_attack(self._image_CHW, goal, radius, start_CHW, self._budget.steps)

    def _check(self, eta_CHW: Tensor) -> AdversarialExample | None:
        """Whether g's class at x + eta is another one, by a PREDICT with noise of its own."""
        self._checks += 1
        reached = self._predict((self._image_CHW + eta_CHW).numpy())
        if reached is None or reached == self._claim.answer:
            return None
        return AdversarialExample(float(torch.linalg.vector_norm(eta_CHW)), reached, eta_CHW.numpy())

    def _predict(self, image_CHW: NDArray[np.float64]) -> int | None:
        """g's class, None where the votes don't tell. Drawing ends early only where nothing broke."""
        attacker, votes = self._attacker, self._budget.votes
        seed = _derived(self._seed, f"check {self._checks}")
        source = RealSampler(attacker.voter, image_CHW, attacker.sigma, seed)
        screen = min(SCREEN_VOTES, votes)
        counts_K = source.count(VoteRange("estimation", 0, screen))
        if counts_K.argmax() == self._claim.answer and predicts(counts_K, screen, SCREEN_ALPHA):
            return self._claim.answer
        counts_K += source.count(VoteRange("estimation", screen, votes))
        known = predicts(counts_K, votes, self._budget.alpha_per_check, slack=source.slack)
        return int(counts_K.argmax()) if known else None


def _derived(seed: int, what: str) -> int:
    """128 bits for one use of a seed."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{what}".encode()).digest()[:16], "big")
