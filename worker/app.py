"""The Celery application: `celery -A worker.app worker`. Nothing connects at import."""

import os
import signal
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

import structlog
from celery import Celery, Task, signals

from smoothcert import logs
from smoothcert.errors import SmoothCertError
from smoothcert.jobs.publisher import TASK, application
from smoothcert.jobs.tasks import TIME_LIMIT
from worker.heartbeat import WORKER_ID, Heartbeat, replace_child
from worker.settings import settings

if TYPE_CHECKING:
    from worker.certifier import Certifier

LOAD_TIMEOUT = (
    600.0  # seconds a child may take to load its first models; Celery's 4 kill a slow one again and again
)
VISIBILITY = TIME_LIMIT + 30  # seconds; a task that still runs must not be delivered a second time


def create_app() -> Celery:
    """Prefork with one child: the parent gives signs of life and stays off the device, the child computes."""
    try:
        broker = settings().broker
    except SmoothCertError as error:  # Celery would show a traceback
        sys.exit(f"worker: {error}")
    app = application(broker, visibility_timeout=VISIBILITY)
    app.conf.update(
        worker_pool="prefork",
        worker_concurrency=1,
        worker_prefetch_multiplier=1,
        worker_proc_alive_timeout=LOAD_TIMEOUT,
        worker_hijack_root_logger=False,
        worker_enable_remote_control=False,  # unused; names of dead workers would stay in the broker
        worker_cancel_long_running_tasks_on_connection_loss=False,  # their votes still count
        task_acks_late=True,
        task_acks_on_timeout=False,  # a task that hung is delivered again
        task_reject_on_worker_lost=True,  # no endless loop: the record counts deliveries of a range
        task_time_limit=TIME_LIMIT,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,  # what a full broker refuses
    )
    app.steps["consumer"].add(Heartbeat)
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
def draw(self: "Task[Any, Any]", job_id: str, message: int) -> None:
    """Draws votes of one job for a slice of time."""
    with structlog.contextvars.bound_contextvars(job=job_id):
        certifier().draw(job_id, message, str(self.request.id))


@signals.setup_logging.connect
def _on_setup_logging(**_: Any) -> None:
    logs.configure(settings().log_level, settings().log_json)


@signals.worker_process_init.connect
def _on_child_start(**_: Any) -> None:
    """Loads the first models. A worker that can't compute ends, instead of pretending to be one."""
    replace_child()
    os.nice(settings().nice)  # service and broker answer while it computes
    try:
        certifier().start()
    except Exception as error:
        known = isinstance(error, SmoothCertError)  # says itself what to do; a traceback would only hide it
        log.error("this worker can't certify", why=str(error), exc_info=not known)
        os.kill(PARENT, signal.SIGTERM)
        return
    log.info("ready")
