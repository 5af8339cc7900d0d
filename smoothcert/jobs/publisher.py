"""Messages to workers, in Celery queues by model: a job's own message, or an invitation to help."""

import secrets
from dataclasses import dataclass

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from smoothcert.errors import BrokerUnavailable
from smoothcert.jobs.broker import ANSWER_TIMEOUT, CONNECT_TIMEOUT, celery_url
from smoothcert.jobs.keys import IDLE_QUEUE

TASK = "smoothcert.draw"
HELPER = 0  # the number of an invitation to help with a job, which may be lost without harm


@dataclass(frozen=True)
class Message:
    """A message about a job, for a Celery queue.

    number: counts the job's own messages, so that a worker can tell an outdated one; HELPER: an invitation.
    """

    job_id: str
    queue: str
    number: int

    @property
    def task_id(self) -> str:
        """The unique id of the Celery task; begins with the job's id."""
        return f"{self.job_id}.{self.number or f'helper-{secrets.token_hex(6)}'}"


def application(url: str, **options: object) -> Celery:
    """A Celery application for this broker. options: for its transport."""
    app = Celery("smoothcert", broker=celery_url(url), set_as_current=False)
    app.conf.update(
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_default_queue=IDLE_QUEUE,
        broker_connection_timeout=CONNECT_TIMEOUT,
        broker_transport_options={"socket_connect_timeout": CONNECT_TIMEOUT, **options},
    )
    return app


class TaskPublisher:
    """Sends messages to workers. Safe from several threads; connects at the first message."""

    def __init__(self, url: str) -> None:
        self._app = application(
            url,
            socket_timeout=ANSWER_TIMEOUT,
            max_retries=1,  # otherwise kombu retries for ever, in spite of `retry=False`
            interval_start=0.0,
            connect_retries_timeout=ANSWER_TIMEOUT,
        )

    def send(self, message: Message) -> None:
        """Sends a job's message to its Celery queue. Raises BrokerUnavailable.

        A failure here may be ignored once the record is written: a sweep sends what did not arrive.
        """
        try:
            self._app.send_task(
                TASK,
                args=[message.job_id, message.number],
                task_id=message.task_id,
                queue=message.queue,
                retry=False,
            )
        except (OperationalError, redis.RedisError, OSError) as error:
            raise BrokerUnavailable from error

    def close(self) -> None:
        """Closes the application; kombu keeps its connections open until the process ends."""
        self._app.close()
