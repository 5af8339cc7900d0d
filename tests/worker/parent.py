"""A worker's parent in this process: Celery's consumer on a real broker, whose loop the test turns."""

import time
from types import SimpleNamespace
from typing import Any

import redis
from celery.worker.consumer import Consumer
from kombu.asynchronous.timer import Timer

from smoothcert.images.pixels import CertifiedImage
from smoothcert.jobs.broker import connect
from smoothcert.jobs.keys import queue_of
from smoothcert.jobs.store import JobStore, Request
from smoothcert.jobs.tasks import application
from smoothcert.jobs.votes import VoteStore
from smoothcert.jobs.workers import WorkerStatus
from smoothcert.schemas.parameters import Parameters
from worker import heartbeat


class Parent:
    """Everything but the pool is Celery's. child: what its child says of itself."""

    def __init__(self, url: str) -> None:
        self.client: redis.Redis = connect(url)
        self.store = JobStore(self.client)
        pool = SimpleNamespace(is_green=False)
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
        self.heartbeat = heartbeat.Heartbeat(self.consumer)
        self.child = VoteStore(self.client, heartbeat.WORKER_ID, "x")

    def start(self) -> None:
        self.heartbeat.start(self.consumer)

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

    def known(self) -> list[WorkerStatus]:
        """What the service sees of this worker."""
        return [info for info in self.store.workers() if info.id == heartbeat.WORKER_ID]

    def listens_to(self, queue: str) -> bool:
        return bool(self.consumer.task_consumer.consuming_from(queue))

    def submit(self, model: str) -> str:
        """A job in the record, whose message was lost."""
        image = CertifiedImage.of(bytes(4), (1, 2, 2), [])
        return self.store.submit(Request(model, Parameters(n=1000, sigma=0.5), image)).job_id

    def waiting(self, model: str) -> Any:
        """Messages of this model's jobs."""
        return self.client.llen(queue_of(model))

    def close(self) -> None:
        self.client.config_set("min-replicas-to-write", 0)
        self.heartbeat.stop(self.consumer)
        self._connection.release()
        self.client.close()
