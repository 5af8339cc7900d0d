"""What the transitions have counted, and how things stand: all that /metrics tells of jobs and workers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from smoothcert.jobs.workers import WorkerStatus

SECOND = 1_000_000  # microseconds

OUTCOMES = ("certified", "abstained", "cancelled", "refused", "failed", "exhausted")
LOSSES = ("worker", "child")  # how a task was lost: its worker fell silent, or its process died


@dataclass(frozen=True)
class Histogram:
    """Durations so far. buckets: upper bound in seconds, as text, and how many were no longer."""

    buckets: list[tuple[str, int]]
    seconds: float


@dataclass(frozen=True)
class Queue:
    """Jobs that wait for one model; oldest: seconds since the first of them began to wait."""

    depth: int
    oldest: float


@dataclass(frozen=True)
class LiveWorker:
    """A living worker, and the seconds since its last sign of life."""

    worker: WorkerStatus
    age: float


@dataclass(frozen=True)
class Metrics:
    """All of it at one moment. counts: since the store began, under names as `_common.lua` gives them."""

    bounds: tuple[str, ...]
    counts: Mapping[tuple[str, ...], int]
    queues: Mapping[str, Queue]
    running: int
    workers: tuple[LiveWorker, ...]

    @classmethod
    def of(cls, told: list[Any]) -> "Metrics":
        """From what `metrics.lua` answers."""
        bounds, counts, queues, running, workers = told
        return cls(
            bounds=tuple(bound.decode() for bound in bounds),
            counts={tuple(name.decode().split(":")): int(value) for name, value in _groups(counts, 2)},
            queues={
                model.decode(): Queue(int(depth), int(age) / SECOND)
                for model, depth, age in _groups(queues, 3)
            },
            running=int(running),
            workers=tuple(_live(said, int(left)) for said, left in _groups(workers, 2)),
        )

    def models(self) -> set[str]:
        """Every model that jobs were ever submitted for."""
        return {name[1] for name in self.counts} | set(self.queues)

    def count(self, *name: str) -> int:
        """How often it happened."""
        return self.counts.get(name, 0)

    def histogram(self, what: str, model: str) -> Histogram:
        """`chunk` or `job` durations of one model."""
        bounds = (*self.bounds, "+Inf")
        sizes = [self.count(what, model, str(place)) for place in range(1, len(bounds) + 1)]
        seconds = self.count(what, model, "sum") / SECOND
        return Histogram(list(zip(bounds, accumulate(sizes), strict=True)), seconds)


def _groups(flat: list[Any], size: int) -> Iterator[tuple[Any, ...]]:
    return zip(*[iter(flat)] * size, strict=True)


def _live(said: bytes, left: int) -> LiveWorker:
    worker = WorkerStatus.model_validate_json(said)
    return LiveWorker(worker, max(0.0, worker.silence - left / SECOND))
