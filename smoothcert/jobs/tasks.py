"""The messages to workers, in Celery queues by model; what their tasks receive from the record and deliver.

A message is a job's own, or an invitation to help.
"""

import math
import secrets
from dataclasses import dataclass
from typing import Literal

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from smoothcert.errors import BrokerUnavailable
from smoothcert.images.pixels import CertifiedImage
from smoothcert.jobs.broker import ANSWER_TIMEOUT, CONNECT_TIMEOUT, celery_url
from smoothcert.jobs.keys import DAY, IDLE_QUEUE, MAX_DELIVERIES
from smoothcert.schemas.certificate import Certificate, EngineDescription
from smoothcert.schemas.job import Problem, Progress
from smoothcert.schemas.parameters import Parameters

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


SECOND = 1_000_000  # microseconds
TIME_LIMIT = 600  # seconds after which Celery ends a task that hangs
NO_RANGE = -1  # in place of a range's number

NotBegun = Literal["gone", "over", "stale", "exhausted"]


@dataclass(frozen=True)
class Policy:
    """Time limits, in seconds. grace: until a message that has not arrived counts as lost. ttl: of records.
    unserved: how long a job waits for a model that no worker has.
    """

    grace: float = 5.0
    ttl: int = DAY
    unserved: float = 3600.0


@dataclass(frozen=True)
class Pin:
    """The engine and weights of all votes of a job's epoch, and its ranges. The first counts fix them.

    weights: the card's classifier_sha256. first_votes, range_votes: estimation votes of range 0 and of each
    other one. ranges: their number.
    """

    engine: EngineDescription
    weights: str
    first_votes: int
    range_votes: int
    ranges: int


@dataclass(frozen=True)
class Task:
    """A task that has begun: one delivery of one of a job's messages.

    main: false for a helper's. range: the first to count; NO_RANGE if all are taken. pin: None until the
    first counts are delivered. state: of the procedure (JSON); it covers `folded` ranges. counts: of ranges
    after these (JSON). engine_config: the requested one; None for the worker's choice.
    ends_at: monotonic time of the job's deadline, which counts from the start of its first task.
    asked_before: jobs submitted earlier for the same pixels, model and sigma; None in older records.
    """

    job_id: str
    task_id: str
    delivery: str
    main: bool
    range: int
    epoch: int
    model: str
    parameters: Parameters
    seed: str
    image: CertifiedImage | None
    pin: Pin | None
    state: str | None
    folded: int
    counts: dict[int, str]
    request_id: str = ""
    engine_config: str | None = None
    ends_at: float = math.inf
    asked_before: int | None = None


@dataclass(frozen=True)
class Delivery:
    """What a task delivers. counts: of range `range` (JSON), from `votes` votes drawn in `seconds`.

    state: of the procedure (JSON); it covers `folded` ranges. progress, certificate: what it proves.
    """

    pin: Pin
    range: int = NO_RANGE
    counts: str = ""
    votes: int = 0
    seconds: float = 0.0
    folded: int = 0
    state: str = ""
    progress: Progress | None = None
    certificate: Certificate | None = None


@dataclass(frozen=True)
class Answer:
    """The reply to a delivery.

    range: the next to count; NO_RANGE if none is left. successor: the message that continues the job.
    folded: ranges that the record's state covers. state: that state if it covers more than the task's, else
    empty. counts: of ranges `folded`, `folded`+1, ... idle: workers that could help.
    """

    range: int
    successor: Message | None
    folded: int
    state: str
    counts: tuple[str, ...]
    idle: int


EXHAUSTED = Problem(
    title="The job broke its worker",
    status=500,
    detail=(
        f"The job was given up after {MAX_DELIVERIES - 1} attempts beyond the first: each time, the worker "
        "that drew one and the same range of its votes ended."
    ),
).model_dump_json()
