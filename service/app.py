"""The FastAPI application (docs/api.md). `python -m service` starts it, on loopback by default."""

from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from threading import Event

import redis
import structlog
from fastapi import APIRouter, Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline
from prometheus_client import CollectorRegistry, ProcessCollector
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Lifespan

from service import batches, jobs, models, monitoring, verify
from service.auth import REQUESTED_WITH, Authentication, Origins
from service.errors import render
from service.middleware import (
    FORM_OVERHEAD,
    REQUEST_ID,
    BodyLimit,
    HeadRequests,
    Prefix,
    Proxies,
    RequestIds,
    SecurityHeaders,
)
from service.openapi import complete_schema, operation_id
from service.settings import Settings
from service.state import ConcurrencyLimit, KeyFile, Service, State
from service.submission import refuse_unknown
from smoothcert.errors import BrokerUnavailable, SmoothCertError
from smoothcert.jobs.broker import connect, evicts
from smoothcert.jobs.store import JobStore, Limits, RateLimit
from smoothcert.jobs.tasks import TaskPublisher
from smoothcert.models.registry import ModelRegistry

log = structlog.get_logger(__name__)

PATIENCE = 1.5  # seconds; timeout of a broker call, as the API promises a response within 3 s
PAUSE = 1.0  # seconds without calls to the broker after a timeout
STATIC = Path(__file__).parent / "static"
REVALIDATE = {"Cache-Control": "no-cache"}
DESCRIPTION = """
Upload an image, get the smoothed classifier's class and a certified l2 radius, or an abstention, with the
evidence.

`POST /certify` answers at once with a job. Follow it at `/jobs/{id}`, with `?wait=` or as an event stream;
the certificate is part of the job once it has ended. Errors are RFC 9457 problem documents.
"""

page = APIRouter(include_in_schema=False)
static_files = StaticFiles(directory=STATIC)


@page.get("/")
def read_page() -> FileResponse:
    """The web page."""
    return FileResponse(STATIC / "index.html", headers=REVALIDATE)


@page.get("/favicon.ico")
def icon() -> FileResponse:
    """Browsers request this path whatever icon the page names."""
    return FileResponse(STATIC / "icon.svg", media_type="image/svg+xml")


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application. Creating it opens no connection."""
    settings = settings or Settings()
    registry, closing = CollectorRegistry(), Event()
    app = FastAPIOffline(
        title="SmoothCert",
        version=version("smoothcert"),
        description=DESCRIPTION,
        generate_unique_id_function=operation_id,
        redirect_slashes=False,  # a redirect would reflect the request's `Host`
        redoc_url=None,  # it loads a logo from another site; /docs has the same content
        dependencies=[Depends(refuse_unknown)],
        lifespan=_lifespan(settings, registry, closing),
        middleware=[
            Middleware(Prefix, root_path=settings.root_path, proxies=Proxies(settings.proxies)),
            Middleware(monitoring.Measured, metrics=monitoring.RequestMetrics(registry)),
            Middleware(SecurityHeaders),
            Middleware(RequestIds),
            *_cors(settings),
            Middleware(
                Origins, names=settings.hosts, allowed=settings.origins, proxies=Proxies(settings.proxies)
            ),
            Middleware(Authentication),
            Middleware(BodyLimit, limit_of=_limit_of(settings)),
            Middleware(HeadRequests),
        ],
    )
    app.state.closing = closing
    for error in (HTTPException, RequestValidationError, SmoothCertError, Exception):
        app.add_exception_handler(error, render)
    for router in (
        jobs.router,
        batches.router,
        models.router,
        verify.router,
        verify.keys,
        monitoring.router,
        page,
    ):
        app.include_router(router)
    app.mount("/static", static_files)
    complete_schema(app)
    return app


def _lifespan(settings: Settings, registry: CollectorRegistry, closing: Event) -> Lifespan[FastAPI]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        service = _assemble(settings, registry, closing)
        registry.register(monitoring.BrokerMetrics(service.store, service.models))
        ProcessCollector(registry=registry)
        service.sender.submit(_warn_of_eviction, service.store.client)
        for folder, reason in service.models.left_out().items():
            log.warning("left out", folder=folder, why=reason)
        yield State(service=service)
        service.decoders.shutdown()
        service.sender.shutdown(cancel_futures=True)  # drops queued sends, as the broker may hang
        service.publisher.close()
        service.store.client.close()

    return lifespan


def _warn_of_eviction(client: redis.Redis) -> None:
    """Logs at startup what /health/ready reports, for operators who read only the log."""
    with suppress(BrokerUnavailable):
        if reason := evicts(client):
            log.warning(reason)


def _assemble(settings: Settings, registry: CollectorRegistry, closing: Event) -> Service:
    limits = Limits(settings.max_queued, settings.record_ttl, PAUSE)
    store = JobStore(connect(settings.broker, retries=0, timeout=PATIENCE), limits)
    return Service(
        settings=settings,
        models=ModelRegistry(settings.models),
        store=store,
        keys=KeyFile(settings.api_keys) if settings.api_keys else None,
        rate_limit=RateLimit(store.scripts),
        publisher=TaskPublisher(settings.broker),
        decoders=ThreadPoolExecutor(settings.decoders, "decoder"),
        sender=ThreadPoolExecutor(1, "sender"),
        metrics_registry=registry,
        closing=closing,
        concurrency=ConcurrencyLimit(settings.max_watching),
    )


def _cors(settings: Settings) -> list[Middleware]:
    """CORS for the sites in SMOOTHCERT_ORIGINS. Their pages send a key as `Authorization: Bearer`."""
    if not settings.origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["Authorization", "Idempotency-Key", "Last-Event-ID", REQUESTED_WITH, REQUEST_ID],
            expose_headers=["Location", "Retry-After", "RateLimit", "RateLimit-Policy", REQUEST_ID],
        )
    ]


def _limit_of(settings: Settings) -> Callable[[str], int]:
    limits = {"/batches": settings.max_batch_bytes}
    return lambda path: limits.get(path, settings.max_upload_bytes) + FORM_OVERHEAD
