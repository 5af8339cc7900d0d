"""What a worker's task gets from the record, brings to it, and learns."""

from dataclasses import dataclass
from typing import Literal

from smoothcert.images.pixels import CertifiedImage
from smoothcert.jobs.keys import MAX_DELIVERIES
from smoothcert.jobs.publisher import Message
from smoothcert.jobs.store import DAY
from smoothcert.schemas.certificate import Certificate, Engine
from smoothcert.schemas.job import Problem, Progress
from smoothcert.schemas.parameters import Parameters

SECOND = 1_000_000  # microseconds
TIME_LIMIT = 600  # seconds after which Celery ends a task that hangs
NO_RANGE = -1

NotBegun = Literal["gone", "over", "stale", "exhausted"]
Then = Literal["take", "leave", "return"]


@dataclass(frozen=True)
class Policy:
    """grace: seconds after which a message that has not arrived counts as lost. ttl: of records, seconds.
    unserved: seconds that a job waits for a model that no worker has.
    """

    grace: float = 5.0
    ttl: int = DAY
    unserved: float = 3600.0


@dataclass(frozen=True)
class Pin:
    """What casts every vote of a job's epoch, and the size of its ranges; fixed by the first counts.

    weights: the card's classifier_sha256. range_votes: estimation votes of a range. ranges: their number.
    """

    engine: Engine
    weights: str
    range_votes: int
    ranges: int


@dataclass(frozen=True)
class Task:
    """One delivery of a job's message, begun.

    range: what to count first; NO_RANGE where all ranges are taken. pin: None until the first counts are in.
    state: the procedure's, which covers `folded` ranges. counts: of ranges that it does not cover.
    setup: what its sender wants to cast the votes, None for the worker's choice.
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
    setup: str | None = None


@dataclass(frozen=True)
class Delivery:
    """What a task brings. counts: of range `range`, cast in `seconds`, `votes` of them.

    state: the procedure's, which covers `folded` ranges; progress and certificate are what it proves.
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
    """What a task learns when it delivers.

    range: the next to count; NO_RANGE where none is left. successor: the message that goes on with the job.
    state, folded: where they cover more than the task's own. counts: of ranges `folded`, `folded`+1, ...
    idle: workers that could help. others: jobs that wait for this worker.
    """

    range: int
    successor: Message | None
    folded: int
    state: str
    counts: tuple[str, ...]
    idle: int
    others: int


EXHAUSTED = Problem(
    title="The job broke its worker",
    status=500,
    detail=(
        f"The job was given up after {MAX_DELIVERIES - 1} attempts beyond the first: each time, the worker "
        "that drew one and the same range of its votes ended."
    ),
).model_dump_json()
