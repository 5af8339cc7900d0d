"""How a job's id travels to a worker: one Celery queue a model, so a job only meets workers that have it.

The record stays the truth: a message lost is sent again by a janitor, one too many finds nothing to claim.
"""

from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import redis
from celery import Celery
from kombu.exceptions import OperationalError
from redis.backoff import NoBackoff
from redis.retry import Retry

from certification.errors import BadKeyFile, BrokerUnavailable

TASK = "smoothcert.certify"
HELP = "smoothcert.help"
QUEUE_PREFIX = "certify."
IDLE_QUEUE = "certify"  # what a worker without any model listens to; nothing is ever sent there

CONNECT_TIMEOUT = 1.0  # seconds; a broker that swallows packets must not hang its callers
ANSWER_TIMEOUT = 2.0  # seconds


def queue_of(model: str) -> str:
    """The Celery queue, and the Redis list behind it, of one model's jobs."""
    return QUEUE_PREFIX + model


def broker_url(url: str, password_file: Path | None) -> str:
    """The broker's address with the password that a file holds, so that none need stand in an environment.

    Over TLS (`rediss://`) the server's certificate is checked unless the address says otherwise: by default
    redis-py checks it and kombu does not. Raises BadKeyFile.
    """
    parts = urlsplit(url)
    if password_file:
        user, host = quote(parts.username or "", safe=""), parts.netloc.rpartition("@")[2]
        parts = parts._replace(netloc=f"{user}:{quote(_secret(password_file), safe='')}@{host}")
    if parts.scheme == "rediss" and "ssl_cert_reqs=" not in parts.query:
        parts = parts._replace(query="&".join(filter(None, [parts.query, "ssl_cert_reqs=required"])))
    return urlunsplit(parts)


def _secret(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadKeyFile(f"{path}, the broker's password, can't be read: {type(error).__name__}.") from error


def connect(url: str, retries: int = 1, timeout: float = ANSWER_TIMEOUT) -> redis.Redis:
    """A client for the store with short time limits (`timeout`: seconds an answer may take). Connects at
    its first use, not here.

    A call is tried once more when its connection breaks: every transition may be repeated without harm. Who
    must answer quickly takes no retries: connecting and calling each have their own, and the times add up.
    """
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=CONNECT_TIMEOUT,
        socket_timeout=timeout,
        health_check_interval=15,
        retry=Retry(NoBackoff(), retries),
    )


def application(url: str, **options: object) -> Celery:
    """A Celery application on this broker; `options` are added to the transport's."""
    app = Celery("smoothcert", broker=url, set_as_current=False)
    app.conf.update(
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_default_queue=IDLE_QUEUE,
        broker_connection_timeout=CONNECT_TIMEOUT,
        broker_transport_options={"socket_connect_timeout": CONNECT_TIMEOUT, **options},
    )
    return app


class Courier:
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
        """Closes its connections."""
        self._app.close()
