"""What operators and orchestrators ask: GET /health/*, /version and /metrics.

`live` depends on nothing; `ready` lists what is missing. The metrics are of this process's requests, and of
the jobs and workers, which the broker counts.
"""

import time
from collections.abc import Iterator
from http import HTTPMethod
from importlib.metadata import version

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from pydantic import BaseModel
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import Unavailable
from service.openapi import problems
from service.state import Service, ServiceOf
from smoothcert.errors import BrokerUnavailable
from smoothcert.jobs.broker import evicts
from smoothcert.jobs.metrics import LOSSES, OUTCOMES, Metrics, Queue
from smoothcert.jobs.store import JobStore
from smoothcert.models.registry import ModelRegistry
from smoothcert.schemas.certificate import MadeBy

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """All is well: anything else is a problem document."""

    status: str = "ok"


@router.get("/health/live", summary="Is the process alive?")
async def check_live() -> Health:
    """Depends on nothing else."""
    return Health()


@router.get("/health/ready", summary="Can it certify?", responses=problems(503))
def check_ready(service: ServiceOf) -> Health:
    """503, saying what is missing, unless the broker answers and every model has a worker that takes jobs.

    A folder whose card can't be used is named too: somebody means it to be served.
    """
    missing = _missing(service)
    if missing:
        raise Unavailable(f"Not ready: {'; '.join(missing)}.")
    return Health()


@router.get("/version", summary="What is this?")
async def read_version() -> MadeBy:
    """The software of this service, as its certificates name it."""
    return MadeBy(name="SmoothCert", version=version("smoothcert"))


def _missing(service: Service) -> list[str]:
    """Why the service can't certify now, one clause each; empty if it can."""
    names = service.models.names()
    if not names:
        return ["there is no model"]
    try:
        workers, refused = service.store.workers(), service.store.refused_models()
        evicting = evicts(service.store.client)
    except BrokerUnavailable as error:
        return [str(error).removesuffix(".")]
    served = {name for worker in workers for name in worker.models}
    loading = {name for worker in workers for name in worker.loading}
    unserved = [
        f"the worker for {name} is loading" if name in loading else f"no live worker for {name}"
        for name in names
        if name not in served and name not in refused
    ]
    broken = [f"{name} can't be loaded: {refused[name].rstrip('.')}" for name in names if name in refused]
    broken += [f"{name} is left out: {why.rstrip('.')}" for name, why in service.models.broken().items()]
    return ([evicting] if evicting else []) + unserved + broken


COUNTERS = {  # key: the event's name in `_common.lua`; one value per model
    "submitted": ("smoothcert_jobs_submitted", "Jobs accepted"),
    "attempts": ("smoothcert_attempts", "Jobs that a worker began"),
    "handed_back": (
        "smoothcert_hand_backs",
        "Tasks whose slice ended before their job; another task continues it",
    ),
    "restarts": (
        "smoothcert_restarts",
        "Jobs restarted from their first vote: no worker had their engine or weights",
    ),
    "resent": ("smoothcert_messages_sent_again", "Messages that were lost and sent again"),
    "votes": ("smoothcert_votes", "Votes drawn; those drawn again after a kill count again"),
}
SPLIT = {  # the same with one more label
    "jobs": ("smoothcert_jobs", "Jobs that ended", "outcome", OUTCOMES),
    "lost": (
        "smoothcert_tasks_lost",
        "Tasks that never reported: their worker or its child process died",
        "cause",
        LOSSES,
    ),
}
HISTOGRAMS = {
    "chunk": ("smoothcert_chunk_seconds", "Seconds spent on one range of votes"),
    "job": ("smoothcert_job_seconds", "Seconds from submission to end"),
}


EMPTY = Queue(depth=0, oldest=0.0)


class BrokerMetrics(Collector):
    """Metrics from the job store; only `smoothcert_broker_up` if it does not respond.

    Labels cover every model in the registry, even without jobs, and every model that ever had jobs.
    """

    def __init__(self, store: JobStore, models: ModelRegistry) -> None:
        self.store = store
        self.models = models

    def collect(self) -> Iterator[Metric]:
        try:
            counted = self.store.metrics()
        except BrokerUnavailable:
            yield GaugeMetricFamily("smoothcert_broker_up", "Whether the broker answers", 0)
            return
        models = sorted({*self.models.names(), *counted.models()})
        yield GaugeMetricFamily("smoothcert_broker_up", "Whether the broker answers", 1)
        yield GaugeMetricFamily(
            "smoothcert_running_jobs", "Jobs that workers are working on", counted.running
        )
        yield from _counters(counted, models)
        yield from _histograms(counted, models)
        yield from _queues(counted, models)
        yield from _workers(counted, models)

    def describe(self) -> Iterator[Metric]:
        """Empty, as registering must not wait for the broker."""
        return iter(())


def _counters(counted: Metrics, models: list[str]) -> Iterator[Metric]:
    for what, (name, text) in COUNTERS.items():
        family = CounterMetricFamily(name, text, labels=["model"])
        for model in models:
            family.add_metric([model], counted.count(what, model))
        yield family
    for what, (name, text, label, values) in SPLIT.items():
        family = CounterMetricFamily(name, text, labels=["model", label])
        for model in models:
            for value in values:
                family.add_metric([model, value], counted.count(what, model, value))
        yield family


def _histograms(counted: Metrics, models: list[str]) -> Iterator[Metric]:
    for what, (name, text) in HISTOGRAMS.items():
        family = HistogramMetricFamily(name, text, labels=["model"])
        for model in models:
            histogram = counted.histogram(what, model)
            family.add_metric([model], histogram.buckets, histogram.seconds)
        yield family


def _queues(counted: Metrics, models: list[str]) -> Iterator[Metric]:
    depth = GaugeMetricFamily("smoothcert_queue_jobs", "Waiting jobs", labels=["model"])
    oldest = GaugeMetricFamily(
        "smoothcert_queue_oldest_seconds", "Seconds that the first waiting job has waited", labels=["model"]
    )
    for model in models:
        queue = counted.queues.get(model, EMPTY)
        depth.add_metric([model], queue.depth)
        oldest.add_metric([model], queue.oldest)
    yield depth
    yield oldest


def _workers(counted: Metrics, models: list[str]) -> Iterator[Metric]:
    workers = [live.worker for live in counted.workers]
    serving = GaugeMetricFamily(
        "smoothcert_workers", "Live workers that take jobs of the model", labels=["model"]
    )
    loading = GaugeMetricFamily(
        "smoothcert_workers_loading", "Live workers that are still loading the model", labels=["model"]
    )
    for model in models:
        serving.add_metric([model], sum(model in worker.models for worker in workers))
        loading.add_metric([model], sum(model in worker.loading for worker in workers))
    yield serving
    yield loading
    ages = GaugeMetricFamily(
        "smoothcert_worker_heartbeat_age_seconds",
        "Seconds since the last heartbeat of a live worker",
        labels=["worker"],
    )
    for live in counted.workers:
        ages.add_metric([live.worker.id], live.age)
    yield ages


STREAMS = "/jobs/{job_id}/events"  # open as long as a job runs, so its duration is no latency
METHODS = frozenset(HTTPMethod)  # clients may send any word as a method; each would become a new label
BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0)  # seconds


class RequestMetrics:
    """Counts and latencies by route template, not by path: clients must not create unlimited labels."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("method", "route", "status")
        self.requests = Counter("smoothcert_http_requests", "Requests", labels, registry=registry)
        self.latency = Histogram(
            "smoothcert_http_request_seconds",
            "Seconds to the end of the response",
            ("route",),
            registry=registry,
            buckets=BUCKETS,
        )

    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"] in METHODS else "other"
        self.requests.labels(method, route, str(status)).inc()
        if route != STREAMS:
            self.latency.labels(route).observe(seconds)


class Measured:
    """ASGI middleware: records the status and duration of each request."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, start = 500, time.perf_counter()

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        finally:
            self.metrics.observe(scope, status, time.perf_counter() - start)


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
def read_metrics(service: ServiceOf) -> Response:
    """Prometheus text format; docs/observability.md explains each metric."""
    return Response(generate_latest(service.metrics_registry), media_type=CONTENT_TYPE_LATEST)
