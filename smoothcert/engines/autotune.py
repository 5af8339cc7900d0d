"""The engine configs worth trying on a device; measures them and caches the fastest one on disk."""

import json
import math
import time
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import nn

from smoothcert.engines.config import Backend, DeviceKind, EngineConfig, Precision
from smoothcert.engines.engine import Engine
from smoothcert.engines.hardware import device_name, has_bfloat16, has_int8, platform_versions, usable_cpus
from smoothcert.errors import InternalError
from smoothcert.files import write_whole
from smoothcert.schemas.card import ModelCard
from smoothcert.schemas.certificate import Shape
from smoothcert.schemas.parameters import DEFAULT_N, DEFAULT_N0
from smoothcert.votes import VoteRange, VoteSource

_SMALL_IMAGE = 10_000  # C*H*W of images that fit a CPU's cache by the hundred
_CPU_BATCHES = (128, 256, 64)
_CPU_BATCHES_LARGE = (16, 8, 32)
_CUDA_BATCHES = {  # by C*H*W at most
    1_000: (8192, 16384, 4096),
    10_000: (4096, 2048, 8192),
    200_000: (256, 512, 128),
}
_CUDA_BATCHES_LARGE = (64, 32)
_CUDA_PRECISIONS: tuple[Precision, ...] = ("bfloat16", "float16")
_COMPILED: dict[Backend, Backend] = {
    "eager": "compile",
    "openvino": "compile",
    "cuda-graph": "compile-cuda-graph",
}


def available_device() -> DeviceKind:
    """`cuda` if there is a CUDA device, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def default_config(
    shape_CHW: Shape, device: DeviceKind, threads: int | None = None, *, int8: bool = False
) -> EngineConfig:
    """A good config without measuring: the first candidate."""
    return candidates(shape_CHW, device, threads, int8=int8)[0]


def candidates(
    shape_CHW: Shape, device: DeviceKind, threads: int | None = None, *, int8: bool = False
) -> list[EngineConfig]:
    """Configs that build in about a second, the most promising first. threads: of the CPU, by default all.

    int8: whether this model may be run so unasked (`ModelCard.int8_is_as_good`).
    """
    channels, height, width = shape_CHW
    pixels = channels * height * width
    if device == "cuda":
        return _cuda_candidates(pixels)
    return _cpu_candidates(pixels, threads or usable_cpus(), int8)


def compiled(config: EngineConfig) -> EngineConfig | None:
    """The same config through torch.compile, which may build for minutes; None if it is compiled already."""
    backend = _COMPILED.get(config.backend)
    return None if backend is None else replace(config, backend=backend)


def _cuda_candidates(pixels: int) -> list[EngineConfig]:
    batches = next((sizes for most, sizes in _CUDA_BATCHES.items() if pixels <= most), _CUDA_BATCHES_LARGE)
    graphs = [
        EngineConfig("cuda", "cuda-graph", precision, batch)
        for batch, precision in product(batches, _CUDA_PRECISIONS)
    ]
    return [
        *graphs,
        EngineConfig("cuda", "eager", "bfloat16", batches[0]),
        EngineConfig("cuda", "eager", "tf32", batches[0]),
    ]


def _cpu_candidates(pixels: int, threads: int, int8: bool) -> list[EngineConfig]:
    batches = _CPU_BATCHES if pixels <= _SMALL_IMAGE else _CPU_BATCHES_LARGE
    backends: tuple[Backend, ...] = ("openvino", "eager") if find_spec("openvino") else ("eager",)
    precisions: tuple[Precision, ...] = ("bfloat16", "float32") if has_bfloat16() else ("float32",)
    rounded = int8 and backends[0] == "openvino" and has_int8()
    quick: Precision = "int8" if rounded else precisions[0]
    best = [EngineConfig("cpu", backends[0], quick, batch, threads=threads) for batch in batches]
    others = [
        EngineConfig("cpu", backend, precision, batches[0], threads=threads)
        for backend, precision in product(backends, precisions)
    ]
    return best + [config for config in others if config not in best]


_SECONDS = 0.5  # of voting, for each candidate
_SIGMA = 0.5  # the cost hardly depends on it


@dataclass(frozen=True)
class Trial:
    """The measurement of one config. error: why it did not run."""

    config: EngineConfig
    votes_per_second: float | None
    build_seconds: float
    error: str | None = None

    @property
    def certificate_seconds(self) -> float:
        """Seconds for a certificate with default n0 and n, with the padding of the last batches."""
        if self.votes_per_second is None:
            return math.inf
        batches = math.ceil(DEFAULT_N0 / self.config.batch) + math.ceil(DEFAULT_N / self.config.batch)
        return batches * self.config.batch / self.votes_per_second


@dataclass(frozen=True)
class Tuning:
    """All trials of one network on one device."""

    trials: tuple[Trial, ...]

    @property
    def fastest(self) -> EngineConfig:
        """Raises InternalError when no candidate ran."""
        best = min(self.trials, key=lambda trial: trial.certificate_seconds)
        if best.votes_per_second is None:
            reasons = "; ".join(f"{trial.config}: {trial.error}" for trial in self.trials)
            raise InternalError(f"No engine runs this network here: {reasons}")
        return best.config


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
    trials = [measure(subject, config, seconds) for config in subject.candidates(device)]
    if compile_too:
        extra = compiled(Tuning(tuple(trials)).fastest)
        trials += [measure(subject, extra, seconds)] if extra else []
    return Tuning(tuple(trials))


def measure(subject: Subject, config: EngineConfig, seconds: float) -> Trial:
    """Build a config and draw votes for about `seconds`. Failures are returned in `error`, not raised."""
    began = time.perf_counter()
    try:
        engine = Engine(subject.network, subject.shape_CHW, subject.num_classes, config)
        sampler = engine.sampler(np.full(subject.shape_CHW, 128, dtype=np.uint8), _SIGMA, 0)
        sampler.count(VoteRange("selection", 0, config.batch))
        built = time.perf_counter() - began
        return Trial(config, _votes_per_second(sampler, config.batch, seconds), built)
    except Exception as error:  # compiler, driver, memory: another config may still run
        return Trial(config, None, time.perf_counter() - began, _last_line(error))


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
        {"setup": str(t.config), "votes_per_second": t.votes_per_second, "error": t.error}
        for t in tuning.trials
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps({"setup": str(chosen), "trials": trials}, indent=1).encode())
    except OSError:
        return
