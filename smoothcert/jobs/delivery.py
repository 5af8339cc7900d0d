"""How a job's id travels to a worker: one Celery queue a model, so a job only meets workers that have it.

The record stays the truth: a message lost is sent again by a janitor, one too many finds nothing to claim.
"""

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from smoothcert.errors import BrokerUnavailable
from smoothcert.jobs.broker import ANSWER_TIMEOUT, CONNECT_TIMEOUT, celery_url

TASK = "smoothcert.certify"
HELP = "smoothcert.help"
QUEUE_PREFIX = "certify."
IDLE_QUEUE = "certify"  # what a worker without any model listens to; nothing is ever sent there


def queue_of(model: str) -> str:
    """The Celery queue, and the Redis list behind it, of one model's jobs."""
    return QUEUE_PREFIX + model


def application(url: str, **options: object) -> Celery:
    """A Celery application on this broker; `options` are added to the transport's."""
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
    """Sends job ids. Safe from several threads; connects at the first message."""

    def __init__(self, url: str) -> None:
        self._app = application(
            url,
            socket_timeout=ANSWER_TIMEOUT,
            max_retries=1,  # kombu would otherwise try for ever, whatever `retry=False` says
            interval_start=0.0,
            connect_retries_timeout=ANSWER_TIMEOUT,
        )

    def send(self, job_id: str, model: str) -> None:
        """Sends one job to the workers of its model. Raises BrokerUnavailable.

        A failure here may be ignored once the record is written: a janitor sends what did not arrive.
        """
        self._send(TASK, job_id, model, task_id=job_id)

    def invite(self, job_id: str, model: str) -> None:
        """Asks one idle worker to share a divided job. Raises BrokerUnavailable.

        It may come late or never: the job goes on without.
        """
        self._send(HELP, job_id, model)

    def _send(self, task: str, job_id: str, model: str, task_id: str | None = None) -> None:
        try:
            self._app.send_task(task, args=[job_id], task_id=task_id, queue=queue_of(model), retry=False)
        except (OperationalError, redis.RedisError, OSError) as error:
            raise BrokerUnavailable from error

    def close(self) -> None:
        """Lets go of its application; its connections are kombu's until the process ends."""
        self._app.close()
