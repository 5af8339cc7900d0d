"""GET /metrics: this process's requests, and the broker's metrics of jobs (job_metrics.py)."""

import time
from http import HTTPMethod

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.state import ServiceOf

STREAMS = "/jobs/{job_id}/events"  # open as long as a job runs, so its duration is no latency
METHODS = frozenset(HTTPMethod)  # clients may send any word as a method; each would become a new label
BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0)  # seconds

router = APIRouter(tags=["health"])


class RequestMetrics:
    """Counts and latencies by route template, not by path: clients must not create unlimited labels."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("method", "route", "status")
        self.requests = Counter("smoothcert_http_requests", "Requests", labels, registry=registry)
        self.latency = Histogram(
            "smoothcert_http_request_seconds",
            "Time to the end of the answer",
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

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            self.metrics.observe(scope, status, time.perf_counter() - start)


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
def metrics(service: ServiceOf) -> Response:
    """In Prometheus' text format; docs/observability.md says what each one means."""
    return Response(generate_latest(service.registry), media_type=CONTENT_TYPE_LATEST)
