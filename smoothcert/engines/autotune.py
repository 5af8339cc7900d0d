"""Measuring set-ups and keeping the fastest: seconds once, remembered on disk."""

import json
import math
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from torch import nn

from smoothcert.engines.candidates import available_device, candidates, compiled
from smoothcert.engines.config import DeviceKind, EngineConfig
from smoothcert.engines.engine import Engine
from smoothcert.engines.hardware import device_name, platform_versions, usable_cpus
from smoothcert.errors import InternalError
from smoothcert.files import write_whole
from smoothcert.schemas.card import ModelCard
from smoothcert.schemas.certificate import Shape
from smoothcert.schemas.parameters import DEFAULT_N, DEFAULT_N0
from smoothcert.votes import VoteRange, VoteSource

_SECONDS = 0.5  # of voting, for each candidate
_SIGMA = 0.5  # any: the cost hardly depends on it


@dataclass(frozen=True)
class Trial:
    """One candidate: its speed, or why it has none."""

    setup: EngineConfig
    votes_per_second: float | None
    build_seconds: float
    error: str | None = None

    @property
    def certificate_seconds(self) -> float:
        """For the usual n0 and n, padding of the last batches included: what a large batch is not free of."""
        if self.votes_per_second is None:
            return math.inf
        batches = math.ceil(DEFAULT_N0 / self.setup.batch) + math.ceil(DEFAULT_N / self.setup.batch)
        return batches * self.setup.batch / self.votes_per_second


@dataclass(frozen=True)
class Tuning:
    """All trials of one network on one device."""

    trials: tuple[Trial, ...]

    @property
    def fastest(self) -> EngineConfig:
        """Raises InternalError when no candidate ran."""
        best = min(self.trials, key=lambda trial: trial.certificate_seconds)
        if best.votes_per_second is None:
            reasons = "; ".join(f"{trial.setup}: {trial.error}" for trial in self.trials)
            raise InternalError(f"No set-up runs this network here: {reasons}")
        return best.setup


@dataclass(frozen=True)
class Subject:
    """What is tuned. model_sha256: of the weights, for remembering. int8_sha256: of the int8 rounding, where
    that is as good as the network itself; else int8 is no candidate."""

    network: nn.Module
    shape_CHW: Shape
    num_classes: int
    model_sha256: str
    int8_sha256: str | None = None

    @classmethod
    def of(cls, network: nn.Module, card: ModelCard) -> "Subject":
        """The network that this card is about."""
        int8_sha256 = card.int8.sha256 if card.int8 and card.int8_is_as_good else None
        return cls(network, card.input_shape, len(card.labels), card.weights_sha256, int8_sha256)

    def candidates(self, device: DeviceKind) -> list[EngineConfig]:
        """The set-ups worth trying."""
        return candidates(self.shape_CHW, device, int8=self.int8_sha256 is not None)


def choose_config(subject: Subject, cache: Path, device: DeviceKind | None = None) -> EngineConfig:
    """The fastest set-up on this device, from `cache` (a folder) if it was measured before. Raises
    InternalError.

    Remembered by weights, device, processor count and library versions.
    """
    device = device or available_device()
    path = cache / f"setup-{_key(subject, device)}.json"
    known = _remembered(path)
    if known is None:
        tuning = tune(subject, device)
        known = tuning.fastest
        _remember(path, known, tuning)
    return known


def tune(
    subject: Subject, device: DeviceKind, *, seconds: float = _SECONDS, compile_too: bool = False
) -> Tuning:
    """Measure the candidates; with `compile_too` also torch.compile at the fastest's batch size."""
    trials = [measure(subject, setup, seconds) for setup in subject.candidates(device)]
    if compile_too:
        extra = compiled(Tuning(tuple(trials)).fastest)
        trials += [measure(subject, extra, seconds)] if extra else []
    return Tuning(tuple(trials))


def measure(subject: Subject, setup: EngineConfig, seconds: float) -> Trial:
    """Build a set-up and count votes for about so many seconds. What fails says why; nothing is raised."""
    began = time.perf_counter()
    try:
        engine = Engine(subject.network, subject.shape_CHW, subject.num_classes, setup)
        sampler = engine.sampler(np.full(subject.shape_CHW, 128, dtype=np.uint8), _SIGMA, 0)
        sampler.count(VoteRange("selection", 0, setup.batch))
        built = time.perf_counter() - began
        return Trial(setup, _votes_per_second(sampler, setup.batch, seconds), built)
    except Exception as error:  # a compiler, a driver, a lack of memory: whatever it is, the next one may do
        return Trial(setup, None, time.perf_counter() - began, _last_line(error))


def _votes_per_second(source: VoteSource, batch: int, seconds: float) -> float:
    """Ranges of whole batches, ever longer, so that the waits between them stop to matter."""
    votes, elapsed, batches = 0, 0.0, 4
    while elapsed < seconds:
        start = time.perf_counter()
        source.count(VoteRange("estimation", votes, votes + batches * batch))
        votes, elapsed = votes + batches * batch, elapsed + time.perf_counter() - start
        batches = min(2 * batches, 1024)
    return votes / elapsed


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"[:300]


def _key(subject: Subject, device: DeviceKind) -> str:
    weights = [subject.model_sha256, subject.int8_sha256]
    parts = [weights, device_name(device), usable_cpus(), platform_versions(device)]
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _remembered(path: Path) -> EngineConfig | None:
    try:
        return EngineConfig.parse(str(json.loads(path.read_bytes())["setup"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(path: Path, chosen: EngineConfig, tuning: Tuning) -> None:
    """A cache that can't be written costs the next start a few seconds, no more."""
    trials = [
        {"setup": str(t.setup), "votes_per_second": t.votes_per_second, "error": t.error}
        for t in tuning.trials
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps({"setup": str(chosen), "trials": trials}, indent=1).encode())
    except OSError:
        return
