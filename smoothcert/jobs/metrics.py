"""Metrics of jobs and workers: counters, histograms, queues and heartbeats, for /metrics."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from smoothcert.jobs.workers import WorkerStatus

SECOND = 1_000_000  # microseconds

OUTCOMES = ("certified", "abstained", "cancelled", "refused", "failed", "exhausted")
LOSSES = ("worker", "child")  # how a task was lost: its worker's heartbeat stopped, or its process died


@dataclass(frozen=True)
class Histogram:
    """Durations. buckets: (upper bound in seconds, as text; cumulative count). seconds: the sum."""

    buckets: list[tuple[str, int]]
    seconds: float


@dataclass(frozen=True)
class Queue:
    """Jobs that wait for one model. oldest: seconds that the first of them has waited."""

    depth: int
    oldest: float


@dataclass(frozen=True)
class LiveWorker:
    """A living worker. age: seconds since its last heartbeat."""

    worker: WorkerStatus
    age: float


@dataclass(frozen=True)
class Metrics:
    """A snapshot of all metrics. bounds: of the histograms, in seconds. counts: named as in `_common.lua`."""

    bounds: tuple[str, ...]
    counts: Mapping[tuple[str, ...], int]
    queues: Mapping[str, Queue]
    running: int
    workers: tuple[LiveWorker, ...]

    @classmethod
    def of(cls, told: list[Any]) -> "Metrics":
        """From the reply of `metrics.lua`."""
        bounds, counts, queues, running, workers = told
        return cls(
            bounds=tuple(bound.decode() for bound in bounds),
            counts={tuple(name.decode().split(":")): int(value) for name, value in _groups(counts, 2)},
            queues={
                model.decode(): Queue(int(depth), int(age) / SECOND)
                for model, depth, age in _groups(queues, 3)
            },
            running=int(running),
            workers=tuple(_live(status, int(left)) for status, left in _groups(workers, 2)),
        )

    def models(self) -> set[str]:
        """Every model that ever had a job."""
        return {name[1] for name in self.counts} | set(self.queues)

    def count(self, *name: str) -> int:
        """The value of a counter; 0 before its first event."""
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
