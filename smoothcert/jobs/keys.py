"""Every key that service and worker share in Redis, with its fields and lifetime; a record's fields as a Job.

All keys begin with `{smoothcert}:`; the hash tag keeps them in one slot. Times are microseconds of the
broker's clock; they are shown, and compared with time limits, but never decide which task may write. "ttl" is
SMOOTHCERT_RECORD_TTL, counted from the job's last change. `lua/_common.lua` builds the same names.

A job:

| key | type | holds | lifetime |
|---|---|---|---|
| `job:<id>` | hash | the record, see below | ttl |
| `image:<id>` | hash | `pixels` (uint8, C,H,W), `digest` (JSON) | ttl |
| `counts:<id>` | hash | range number -> its counts (JSON), until the state covers them | ttl |
| `tasks:<id>` | hash | task id -> {worker, delivery, range, since}; `missing:<range>` -> tries | ttl |

Fields of `job:<id>`:

    status owner model parameters progress certificate error created started finished version attempts
                                       what callers see; certificate only once the job has ended
    seed request lane batch engine_config idempotency  as submitted; `lane` is single or batch
    question asked_before              the job's `asked` key, and how many jobs had asked the same before
    queue chain sent                   Celery queue and number of the latest message, and when it was sent
    waiting_since                      when the job began to wait; unchanged when its message is sent again
    epoch                              counts the starts from vote 0 (another platform, other weights)
    engine platform weights            pinned by the first counts of an epoch
    first_votes range_votes ranges     estimation votes of range 0 and of each other range; how many ranges
    next                               the first range that no task has been given yet
    state folded                       the procedure's state, and how many ranges it covers

Range 0 holds the selection votes and first_votes estimation votes, each other range the next range_votes.
The counts of range k are a pure function of (seed, engine, k): two tasks that count it store the same.

Of a caller, and of a batch:

| key | type | holds | lifetime |
|---|---|---|---|
| `open:<owner>` | sorted set | ids of unfinished jobs by time | ttl |
| `owner:<owner>` | sorted set | ids of all jobs by time | ttl |
| `idempotency:<owner>:<digest>` | hash | `job`, `body` | ttl |
| `batch:<id>`, `batch-key:<owner>:<digest>` | string, hash | a batch's jobs (JSON); `batch`, `body` | ttl |
| `rate:<owner>` | string | when the owner's quota will be full again | a minute |

Of all:

| key | type | holds | lifetime |
|---|---|---|---|
| `asked:<question>` | string | jobs submitted for the same pixels, model and sigma | ttl of the last one |
| `waiting:<queue>` | sorted set | jobs whose message waits in this Celery queue, by number | ttl |
| `queues` | hash | queue -> number of the job begun last; the empty field counts messages | for ever |
| `running` | set | jobs that have begun and do not wait | ttl |
| `workers`, `children` | sorted set | worker id -> when its parent, its child counts as gone | a day |
| `workers:status` | hash | worker id -> WorkerStatus (JSON), written by the parent | a day |
| `workers:child` | hash | worker id -> ChildStatus (JSON), written by the child | a day |
| `served` | hash | model -> when a living worker had it last; the empty field: time of the last sweep | ttl |
| `refused_models` | hash | model -> why a worker could not load it | a day |
| `metrics` | hash | counts and histograms, as `what:model:...` | for ever |

States of a job:

    submit -> queued --begin--> running --finish--> succeeded | failed
                |                 |  ^
                |           leave |  | begin        running between two slices: its message waits
                |                 v  |              (in `waiting`, still shown as running)
                |               waiting
                |
       cancel from any state but the last three -> cancelled (with the best certificate so far)
       sweep: tasks of dead workers are forgotten and their ranges counted again; a job without task or
              message is sent again; other platform or weights: epoch + 1, from vote 0, with the same seed;
              a range delivered MAX_DELIVERIES times without answer, or no worker for long -> failed
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple, Self, cast

from smoothcert.schemas.certificate import Certificate
from smoothcert.schemas.job import TERMINAL, Job, Links, Problem, Progress, Status
from smoothcert.schemas.parameters import Parameters

ROOT = "{smoothcert}"
QUEUE_PREFIX = "certify."
IDLE_QUEUE = "certify"  # consumed by workers that have no model yet; nothing is sent to it
DAY = 24 * 3600  # seconds
MAX_DELIVERIES = 4  # of one range, before its job fails


def queue_of(model: str, lane: str = "single") -> str:
    """The Celery queue (a Redis list of the same name) of a model's jobs that have not begun.

    lane: `single` for jobs sent alone, `batch` for those of a batch.
    """
    return f"{QUEUE_PREFIX}{model}" + (":batch" if lane == "batch" else "")


def platform_queue(model: str, platform: str) -> str:
    """The Celery queue of a model's jobs whose engine is pinned to one platform."""
    return f"{QUEUE_PREFIX}{model}:{sha256(platform.encode()).hexdigest()[:8]}"


def queues_of(model: str, platform: str) -> list[str]:
    """All queues of a model that a worker of this platform consumes."""
    return [queue_of(model), queue_of(model, "batch"), platform_queue(model, platform)]


class Row(NamedTuple):
    """The fields that `row_of` in `_common.lua` returns, in order. Times: microseconds, broker's clock."""

    status: bytes
    model: bytes
    parameters: bytes
    progress: bytes
    certificate: bytes | None
    error: bytes | None
    created: bytes
    started: bytes | None
    finished: bytes | None
    attempts: bytes
    version: bytes
    owner: bytes
    position: int | None

    @classmethod
    def of(cls, told: Sequence[Any]) -> Self | None:
        """From one row of the reply; None if there is no such job."""
        return cls(*told) if told else None


def moment(microseconds: bytes | None) -> datetime | None:
    """A timestamp of the broker's clock, in UTC."""
    if microseconds is None:
        return None
    return datetime.fromtimestamp(int(microseconds) / 1e6, UTC)


def job_of(job_id: str, row: Row) -> Job:
    """The job of a row.

    The certificate contains the seed, so it stays hidden until the job has ended: a caller who knows the
    noise could choose the image to fit it.
    """
    status = cast(Status, row.status.decode())
    ended = status in TERMINAL
    certificate = row.certificate if ended else None
    progress = Progress.model_validate_json(row.progress)
    created_at = moment(row.created)
    assert created_at is not None
    return Job(
        id=job_id,
        status=status,
        model=row.model.decode(),
        parameters=Parameters.model_validate_json(row.parameters),
        queue_position=row.position,
        progress=progress.model_copy(update={"forecast": None}) if ended else progress,
        certificate=Certificate.model_validate_json(certificate) if certificate else None,
        error=Problem.model_validate_json(row.error) if row.error else None,
        created_at=created_at,
        started_at=moment(row.started),
        finished_at=moment(row.finished),
        attempts=int(row.attempts),
        links=Links.of(job_id),
        version=int(row.version),
    )
