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
from smoothcert.jobs.tasks import TASK, TIME_LIMIT, application
from worker.heartbeat import WORKER_ID, Heartbeat, replace_child
from worker.settings import settings

if TYPE_CHECKING:
    from worker.certifier import Certifier

# Seconds a child may take to load its first models. Celery's default of 4 would kill a slow one repeatedly.
LOAD_TIMEOUT = 600.0
VISIBILITY = TIME_LIMIT + 30  # seconds; longer than a task, so that no running task is delivered again


def create_app() -> Celery:
    """Prefork with one child: the parent sends heartbeats, the child computes and alone uses the device."""
    try:
        broker = settings().broker
    except SmoothCertError as error:  # without this, Celery prints a traceback
        sys.exit(f"worker: {error}")
    app = application(broker, visibility_timeout=VISIBILITY)
    app.conf.update(
        worker_pool="prefork",
        worker_concurrency=1,
        worker_prefetch_multiplier=1,
        worker_proc_alive_timeout=LOAD_TIMEOUT,
        worker_hijack_root_logger=False,
        worker_enable_remote_control=False,  # unused, and dead workers would leave entries in the broker
        worker_cancel_long_running_tasks_on_connection_loss=False,  # their votes still count
        task_acks_late=True,
        task_acks_on_timeout=False,  # redeliver a task that hung
        task_reject_on_worker_lost=True,  # can't loop: the record counts deliveries of each range
        task_time_limit=TIME_LIMIT,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,  # such as writes that a full broker refuses
    )
    app.steps["consumer"].add(Heartbeat)
    return app


PARENT = os.getpid()
log = structlog.get_logger(__name__)
app = create_app()


@cache
def certifier() -> "Certifier":
    """The child's certifier. Never called in the parent, which therefore starts fast, without torch."""
    from worker.certifier import Certifier  # noqa: PLC0415

    return Certifier(settings(), WORKER_ID)


@app.task(name=TASK, bind=True)
def draw(self: "Task[Any, Any]", job_id: str, message: int) -> None:
    """Draws votes of one job for one time slice."""
    with structlog.contextvars.bound_contextvars(job=job_id):
        certifier().draw(job_id, message, str(self.request.id))


@signals.setup_logging.connect
def _on_setup_logging(**_: Any) -> None:
    logs.configure(settings().log_level, settings().log_json)


@signals.worker_process_init.connect
def _on_child_start(**_: Any) -> None:
    """Loads the first models. If that fails, stops the whole worker, so that it takes no jobs."""
    replace_child()
    os.nice(settings().nice)  # keep service and broker responsive
    try:
        certifier().start()
    except Exception as error:
        known = isinstance(error, SmoothCertError)  # its message says what to do
        log.error("this worker can't certify", why=str(error), exc_info=not known)
        os.kill(PARENT, signal.SIGTERM)
        return
    log.info("ready")
