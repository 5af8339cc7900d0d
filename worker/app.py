"""The Celery application: `celery -A worker.app worker`. Nothing connects at import."""

import os
import signal
import sys
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

import structlog
from billiard.util import set_pdeathsig  # type: ignore[attr-defined]
from celery import Celery, Task, signals

from smoothcert import logs
from smoothcert.errors import SmoothCertError
from smoothcert.jobs.delivery import HELP, TASK, application
from worker import drain, readiness, transport
from worker.settings import settings
from worker.upkeep import WORKER_ID, Upkeep

if TYPE_CHECKING:
    from worker.certifier import Certifier

LOAD_TIMEOUT = 600.0  # seconds a child may take to warm up; Celery's 4 kill a slow one again and again
LOST_WAIT = 0.5  # seconds to look for a result of a dead child; it has none, the record has it
SWEEP = 5  # seconds between the transport's searches for messages to deliver again


def create_app() -> Celery:
    """Prefork with one child: the parent gives signs of life and stays off the device, the child computes."""
    transport.install()
    try:
        chosen = settings()
        broker = chosen.broker
    except SmoothCertError as error:  # Celery would show a traceback
        sys.exit(f"worker: {error}")
    app = application(
        broker,
        visibility_timeout=chosen.visibility,
        unacked_restore_interval=SWEEP,
        unacked_restore_throttle=1,
    )
    app.conf.update(
        worker_pool="prefork",
        worker_concurrency=1,
        worker_prefetch_multiplier=1,
        worker_proc_alive_timeout=LOAD_TIMEOUT,
        worker_lost_wait=LOST_WAIT,
        worker_hijack_root_logger=False,
        worker_enable_remote_control=False,  # nobody uses it; names of dead workers stayed in the broker
        task_acks_late=True,
        task_reject_on_worker_lost=True,  # no endless loop: the record counts attempts
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
    )
    app.steps["consumer"].add(Upkeep)
    return app


PARENT = os.getpid()
log = structlog.get_logger(__name__)
app = create_app()


@cache
def certifier() -> "Certifier":
    """This child's certifier. The parent never loads torch: it is up at once, and stays off the device."""
    from worker.certifier import Certifier  # noqa: PLC0415

    return Certifier(settings(), WORKER_ID)


@app.task(name=TASK, bind=True)
def certify(self: "Task[Any, Any]", job_id: str) -> None:
    """Works on one job; the message is acknowledged when it has ended or was handed back."""
    properties = self.request.properties or {}
    with structlog.contextvars.bound_contextvars(job=job_id):
        certifier().certify(job_id, properties.get("delivery_tag"))


@app.task(name=HELP, bind=True)
def share(self: "Task[Any, Any]", job_id: str) -> None:
    """Helps with a job that another worker holds."""
    properties = self.request.properties or {}
    certifier().help(job_id, properties.get("delivery_tag"))


@signals.setup_logging.connect
def _on_setup_logging(**_: Any) -> None:
    logs.configure(settings().log_level, settings().log_json)


@signals.worker_process_init.connect
def _on_child_start(**_: Any) -> None:
    """Gets ready before the first job. A worker that can't compute ends, instead of pretending to be one."""
    _die_with_parent()
    os.nice(settings().nice)  # service and broker answer while it computes
    readiness.say(False)
    try:
        certifier().warm_up()
    except Exception as error:
        known = isinstance(error, SmoothCertError)  # says itself what to do; a traceback would only hide it
        log.error("this worker can't certify", why=str(error), exc_info=not known)
        os.kill(PARENT, signal.SIGTERM)
        return
    readiness.say(True)
    log.info("ready")


def _die_with_parent() -> None:
    """A child whose parent was killed would go on computing for nobody."""
    with suppress(OSError):  # Linux alone has it
        set_pdeathsig(int(signal.SIGKILL))
    if os.getppid() != PARENT:
        os._exit(1)


@signals.worker_shutting_down.connect
def _on_shutting_down(**_: Any) -> None:
    drain.start(settings().drain)
