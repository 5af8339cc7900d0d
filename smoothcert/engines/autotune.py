"""Measures engine configs and caches the fastest one on disk."""

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
_SIGMA = 0.5  # the cost hardly depends on it


@dataclass(frozen=True)
class Trial:
    """The measurement of one config. error: why it did not run."""

    setup: EngineConfig
    votes_per_second: float | None
    build_seconds: float
    error: str | None = None

    @property
    def certificate_seconds(self) -> float:
        """Seconds for a certificate with default n0 and n, with the padding of the last batches."""
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
            raise InternalError(f"No engine runs this network here: {reasons}")
        return best.setup


@dataclass(frozen=True)
class Subject:
    """The network to tune.

    model_sha256: of the weights, for the cache. int8_sha256: of the int8 rounding if it is
    as good as the network itself; None excludes int8.
    """

    network: nn.Module
    shape_CHW: Shape
    num_classes: int
    model_sha256: str
    int8_sha256: str | None = None

    @classmethod
    def of(cls, network: nn.Module, card: ModelCard) -> "Subject":
        """The subject for a network and its card."""
        int8_sha256 = card.int8.sha256 if card.int8 and card.int8_is_as_good else None
        return cls(network, card.input_shape, len(card.labels), card.weights_sha256, int8_sha256)

    def candidates(self, device: DeviceKind) -> list[EngineConfig]:
        """The configs worth trying."""
        return candidates(self.shape_CHW, device, int8=self.int8_sha256 is not None)


def choose_config(subject: Subject, cache: Path, device: DeviceKind | None = None) -> EngineConfig:
    """The fastest config on this device, read from the folder `cache` if it was measured before.

    The cache key holds weights, device, processor count and library versions. Raises InternalError.
    """
    device = device or available_device()
    path = cache / f"setup-{_key(subject, device)}.json"
    known = _cached(path)
    if known is None:
        tuning = tune(subject, device)
        known = tuning.fastest
        _write_cache(path, known, tuning)
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
    """Build a config and draw votes for about `seconds`. Failures are returned in `error`, not raised."""
    began = time.perf_counter()
    try:
        engine = Engine(subject.network, subject.shape_CHW, subject.num_classes, setup)
        sampler = engine.sampler(np.full(subject.shape_CHW, 128, dtype=np.uint8), _SIGMA, 0)
        sampler.count(VoteRange("selection", 0, setup.batch))
        built = time.perf_counter() - began
        return Trial(setup, _votes_per_second(sampler, setup.batch, seconds), built)
    except Exception as error:  # compiler, driver, memory: another config may still run
        return Trial(setup, None, time.perf_counter() - began, _last_line(error))


def _votes_per_second(source: VoteSource, batch: int, seconds: float) -> float:
    """Draws growing ranges of whole batches, so that the cost per range becomes negligible."""
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


def _cached(path: Path) -> EngineConfig | None:
    try:
        return EngineConfig.parse(str(json.loads(path.read_bytes())["setup"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_cache(path: Path, chosen: EngineConfig, tuning: Tuning) -> None:
    """Write the cache. Failing to do so is ignored: the next start measures again."""
    trials = [
        {"setup": str(t.setup), "votes_per_second": t.votes_per_second, "error": t.error}
        for t in tuning.trials
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps({"setup": str(chosen), "trials": trials}, indent=1).encode())
    except OSError:
        return
