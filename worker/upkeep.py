"""What a worker's parent does between deliveries: signs of life, new models' queues, and the janitor.

A step of Celery's consumer, run by timers of its event loop: a later fork finds no thread holding a lock.
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

from smoothcert.errors import SmoothCertError
from smoothcert.jobs.broker import connect, evicts
from smoothcert.jobs.delivery import TaskPublisher, queue_of
from smoothcert.jobs.leases import Leases
from smoothcert.jobs.workers import WorkerInfo
from worker import readiness
from worker.settings import Settings, settings

WORKER_ID = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"  # children inherit it
POOL_CHECK = 0.5  # seconds between two looks whether the child is alive
READY_CHECK = 0.1  # seconds between two looks whether it takes jobs
BEATS_MISSED = 5  # before a worker counts as gone
STARTED_AT = datetime.now(UTC)

log = structlog.get_logger(__name__)


class Janitor:
    """Sends again what fell by the wayside. Each worker has one; the record keeps them from colliding."""

    def __init__(self, client: redis.Redis, leases: Leases, courier: TaskPublisher) -> None:
        self._client, self._leases, self._courier = client, leases, courier

    def sweep(self, models: list[str]) -> int:
        """One search, over jobs of all models; `models`: those whose message queues are worth a look."""
        idle = [model for model in models if not self._client.llen(queue_of(model))]
        due = self._leases.overdue(idle)
        for job in due:
            log.warning("sent again", job=job.job_id, model=job.model)
            self._courier.send(job.job_id, job.model)
        return len(due)

    def give_up(self) -> None:
        """Jobs whose model is gone don't wait for ever."""
        for job in self._leases.give_up_unserved():
            log.warning("given up: no worker has its model", job=job.job_id, model=job.model)


class Upkeep(bootsteps.StartStopStep):
    """Runs while the consumer is connected; starts anew after each reconnection."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        chosen = settings()
        self._settings: Settings = chosen
        self._client = connect(chosen.broker)
        self._leases = Leases(self._client, chosen.terms)
        self._janitor = Janitor(self._client, self._leases, TaskPublisher(chosen.broker))
        self._timers: list[Any] = []
        self._said: bool | None = None  # whether we are ready, as we said last

    def start(self, parent: Any) -> None:
        def every(seconds: float, what: Callable[[], None]) -> None:
            what()
            self._timers.append(parent.timer.call_repeatedly(seconds, what))

        self._safely(self._warn_of_eviction)
        every(self._settings.beat, lambda: self._safely(lambda: self._beat(parent)))
        every(READY_CHECK, lambda: self._safely(lambda: self._tell(parent)))
        every(self._settings.janitor, lambda: self._safely(self._sweep))
        every(POOL_CHECK, parent.pool._pool.maintain_pool)  # the pool's own timer takes 5 s

    def _warn_of_eviction(self) -> None:
        if reason := evicts(self._client):
            log.warning(reason)

    def stop(self, parent: Any) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def shutdown(self, parent: Any) -> None:
        self._safely(lambda: self._leases.leave(WORKER_ID))

    def _tell(self, parent: Any) -> None:
        if readiness.ready() != self._said:
            self._beat(parent)

    def _beat(self, parent: Any) -> None:
        ready, models = readiness.ready(), self._settings.catalogue.names()
        if ready:
            self._listen(parent, models)
        info = WorkerInfo(
            id=WORKER_ID,
            host=socket.gethostname(),
            models=models,
            started_at=STARTED_AT,
            ready=ready,
        )
        self._said = ready
        self._leases.beat(info, BEATS_MISSED * self._settings.beat)
        if file := self._settings.alive:  # looked at from outside: asking through the broker costs too much
            file.write_text("ready\n" if ready else "loading\n")

    @staticmethod
    def _listen(parent: Any, models: list[str]) -> None:
        """Not before the child is ready: a message taken then would keep its job from other workers."""
        for queue in map(queue_of, models):
            if not parent.task_consumer.consuming_from(queue):
                parent.add_task_queue(queue)

    def _sweep(self) -> None:
        self._janitor.give_up()
        self._janitor.sweep(self._settings.catalogue.names())

    def _safely(self, what: Callable[[], object]) -> None:
        """The broker may be away; the next round will tell."""
        try:
            what()
        except (SmoothCertError, redis.RedisError, OSError) as error:
            log.warning("upkeep failed", error=str(error))
