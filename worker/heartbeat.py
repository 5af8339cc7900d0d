"""The parent between deliveries: heartbeats, the queues of newly loaded models, and the sweep.

Runs on timers of the Celery consumer's event loop, not in a thread: a fork could copy a lock that a thread
holds.
"""

import os
import secrets
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import redis
import structlog
from celery import bootsteps
from celery.worker import state

from smoothcert.errors import SmoothCertError
from smoothcert.jobs.broker import connect, evicts
from smoothcert.jobs.keys import queues_of
from smoothcert.jobs.tasks import TaskPublisher
from smoothcert.jobs.workers import ChildStatus, WorkerStatus, WorkerStore
from worker.settings import BEATS_MISSED, Settings, settings

WORKER_ID = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"  # children inherit it
LOADING_BEAT = 0.25  # seconds between heartbeats while models are loading, at most
STARTED_AT = datetime.now(UTC)

log = structlog.get_logger(__name__)


def sweep(store: WorkerStore, publisher: TaskPublisher) -> None:
    """Sends messages for the jobs that no task works on."""
    swept = store.sweep()
    for message in swept.lost:
        log.warning("sent again", job=message.job_id, queue=message.queue)
        publisher.send(message)
    for job_id in swept.given_up:
        log.warning("given up: no worker has its model", job=job_id)


def replace_child() -> None:
    """Called in a new child: the job of a child that died goes on in another worker at once."""
    config = settings()
    store = WorkerStore(connect(config.broker), config.policy)
    try:
        store.lose_child(WORKER_ID)
        sweep(store, TaskPublisher(config.broker))
    except SmoothCertError as error:
        log.warning("not swept", error=str(error))


def _need_prefetch(parent: Any) -> None:
    """Makes Celery reconnect if an acknowledgement was lost while the broker was away.

    Kombu goes on counting such a message as unacknowledged, so with a prefetch of 1 it would never ask for
    another. Raises redis.ConnectionError, which Celery's event loop takes as a lost connection.
    """
    if not state.reserved_requests and not parent.task_consumer.channel.qos.can_consume():
        raise redis.ConnectionError("an acknowledgement was lost while the broker was away")


class Heartbeat(bootsteps.StartStopStep):
    """A step of the Celery consumer. Runs while it is connected; restarts after each reconnection."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        config = settings()
        self._settings: Settings = config
        self._client = connect(config.broker)
        self._store = WorkerStore(self._client, config.policy)
        self._publisher = TaskPublisher(config.broker)
        self._timers: list[Any] = []
        self._loading = True
        self._child: ChildStatus | None = None

    def start(self, parent: Any) -> None:
        def every(seconds: float, what: Callable[[], object]) -> None:
            def safely() -> None:
                try:
                    what()
                except (SmoothCertError, redis.RedisError, OSError) as error:  # the next call tries again
                    log.warning("heartbeat failed", error=str(error))

            safely()
            self._timers.append(parent.timer.call_repeatedly(seconds, safely))

        beat = self._settings.beat
        every(beat, lambda: self._beat(parent))
        every(min(beat, LOADING_BEAT), lambda: self._beat(parent) if self._loading else None)
        every(min(beat, 1.0), lambda: sweep(self._store, self._publisher))
        every(3600.0, self._warn_of_eviction)
        self._timers.append(parent.timer.call_repeatedly(beat, lambda: _need_prefetch(parent)))

    def stop(self, parent: Any) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def shutdown(self, parent: Any) -> None:
        try:
            self._store.leave(WORKER_ID)
        except SmoothCertError as error:
            log.warning("not signed off", error=str(error))

    def _beat(self, parent: Any) -> None:
        names = self._settings.registry.names()
        child = self._store.beat(self._status(names, self._child), BEATS_MISSED * self._settings.beat)
        if child and child != self._child:
            self._child = child
            self._listen(parent)
            self._store.beat(self._status(names, child), BEATS_MISSED * self._settings.beat)
        self._loading = not (self._child and self._child.models)
        if file := self._settings.alive:  # for liveness probes: `celery inspect` would need remote control
            file.write_text("loading\n" if self._loading else "ready\n")

    def _status(self, names: list[str], child: ChildStatus | None) -> WorkerStatus:
        models = child.models if child else []
        return WorkerStatus(
            id=WORKER_ID,
            host=socket.gethostname(),
            models=models,
            loading=[name for name in names if name not in models],
            started_at=STARTED_AT,
            ready=bool(models),
            platform=child.platform if child else "",
        )

    def _listen(self, parent: Any) -> None:
        """Consumes the queues of loaded models only: messages taken earlier would wait in this worker."""
        if self._child is None:
            return
        for model in self._child.models:
            for queue in queues_of(model, self._child.platform):
                if not parent.task_consumer.consuming_from(queue):
                    parent.add_task_queue(queue)

    def _warn_of_eviction(self) -> None:
        if reason := evicts(self._client):
            log.warning(reason)
