"""A worker's parent in this process: Celery's consumer on a real broker, whose loop the test turns."""

import time
from types import SimpleNamespace
from typing import Any

import redis
from celery.worker.consumer import Consumer
from kombu.asynchronous.timer import Timer

from smoothcert.images.pixels import CertifiedImage
from smoothcert.jobs.broker import connect
from smoothcert.jobs.delivery import application, queue_of
from smoothcert.jobs.jobs import JobStore, Request
from smoothcert.jobs.workers import WorkerInfo
from smoothcert.schemas.parameters import Parameters
from worker import upkeep


class Parent:
    """Everything but the pool is Celery's; `checks`: how often the pool was asked whether its child lives."""

    def __init__(self, url: str) -> None:
        self.client: redis.Redis = connect(url)
        self.store = JobStore(self.client)
        self.checks = 0
        pool = SimpleNamespace(is_green=False, _pool=SimpleNamespace(maintain_pool=self._check))
        app = application(url)
        self.consumer: Any = Consumer(
            lambda request: None,
            app=app,
            pool=pool,
            timer=Timer(),
            controller=SimpleNamespace(use_eventloop=True),
        )
        self._connection = app.connection_for_read()
        self.consumer.task_consumer = app.amqp.TaskConsumer(self._connection)
        self.upkeep = upkeep.Upkeep(self.consumer)

    def start(self) -> None:
        self.upkeep.start(self.consumer)

    def turn(self, seconds: float) -> int:
        """Celery's loop for so long; answers with how many timers it served."""
        served, end = 0, time.monotonic() + seconds
        for wait, entry in self.consumer.timer:
            if entry:
                self.consumer.timer.apply_entry(entry)
                served += 1
            if time.monotonic() > end:
                break
            if not entry:
                time.sleep(min(wait or 0.01, 0.01))
        return served

    def known(self) -> list[WorkerInfo]:
        """What the service sees of this worker."""
        return [info for info in self.store.workers() if info.id == upkeep.WORKER_ID]

    def listens_to(self, model: str) -> bool:
        return bool(self.consumer.task_consumer.consuming_from(queue_of(model)))

    def submit(self, model: str) -> str:
        """A job in the record, whose message was lost."""
        image = CertifiedImage.of(bytes(4), (1, 2, 2), [])
        return self.store.submit(Request(model, Parameters(n=1000, sigma=0.5), image)).job_id

    def waiting(self, model: str) -> Any:
        """Messages of this model's jobs."""
        return self.client.llen(queue_of(model))

    def close(self) -> None:
        self.client.config_set("min-replicas-to-write", 0)
        self.upkeep.stop(self.consumer)
        self._connection.release()
        self.client.close()

    def _check(self) -> None:
        self.checks += 1
