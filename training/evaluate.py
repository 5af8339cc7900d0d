"""Certify the images of a data set one after the other, each row replayable from its own seed."""

import hashlib
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from smoothcert.schemas.certificate import Certificate
from smoothcert.schemas.parameters import Parameters
from smoothcert.stats.procedure import Certification, Result, drive
from smoothcert.votes import VoteSource
from training.datasets import ImageSet
from training.journal import Run
from training.log import Evidence, Row

CHUNK = 16_384  # votes between two signs of life; a multiple of the usual batch sizes
SEED_BYTES = 16
ABSTAINED = -1


class Sampling(Protocol):
    """What casts the votes; smoothcert.engines.engine.Engine is one."""

    def sampler(self, image_CHW: NDArray[np.uint8], sigma: float, seed: int) -> VoteSource: ...


@dataclass(frozen=True)
class Step:
    """A sign of life: votes drawn of those wanted for the image under way; its row once it is done."""

    idx: int
    votes: int
    of: int
    row: Row | None = None


def parameters_of(run: Run) -> Parameters:
    """What is asked about every image."""
    return Parameters.model_validate({name: getattr(run, name) for name in Parameters.model_fields})


def image_seed(run_seed: int, idx: int) -> str:
    """The seed of one image, 128 bits in hexadecimal: sha256 of the run's seed and the index."""
    return hashlib.sha256(f"{run_seed}:{idx}".encode()).digest()[:SEED_BYTES].hex()


def wanted(total: int, every: int, limit: int | None) -> range:
    """Indices 0, K, 2K, ... of `total` images; `limit` counts the images themselves, not their indices."""
    indices = range(0, total, every)
    return indices if limit is None else indices[:limit]


def evaluate(
    engine: Sampling, images: ImageSet, run: Run, indices: Sequence[int], done: Collection[int]
) -> Iterator[Step]:
    """Certify the indices that are not done yet, in order. Raises ImpossibleRequest before the first vote."""
    parameters = parameters_of(run)
    for idx in indices:
        if idx not in done:
            yield from _one(engine, images, run, parameters, idx)


def _one(engine: Sampling, images: ImageSet, run: Run, parameters: Parameters, idx: int) -> Iterator[Step]:
    started = time.perf_counter()
    seed = int(image_seed(run.seed, idx), 16)
    source = engine.sampler(images.images_u8[idx].numpy(), run.sigma, seed)
    certification = Certification(parameters, source.num_classes, slack=source.slack)
    for progress in drive(certification, source, CHUNK):
        yield Step(idx, progress.samples, progress.of)
    row = row_of(certification.result, run, idx, int(images.labels[idx]), time.perf_counter() - started)
    yield Step(idx, run.n, run.n, row)


def row_of(result: Result | Certificate, run: Run, idx: int, label: int, seconds: float) -> Row:
    """The row of one image, whoever certified it."""
    predict = ABSTAINED if result.predicted_class is None else result.predicted_class
    evidence = Evidence(
        n0=run.n0,
        n=result.n,
        alpha=run.alpha,
        sigma=run.sigma,
        bound=result.bound,
        p_lower=result.p_lower,
        p_upper=result.p_upper,
        counts=tuple(result.counts),
        seed=image_seed(run.seed, idx),
    )
    return Row(idx, label, predict, result.radius, predict == label, seconds, evidence)
