"""The job records as the service uses them: submit, read, cancel, list. And the rate limit of each caller."""

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import redis

from smoothcert.errors import KeyReused, OverQuota, QueueFull
from smoothcert.images.pixels import CertifiedImage
from smoothcert.jobs.keys import DAY, ROOT, Row, job_of, queue_of
from smoothcert.jobs.metrics import Metrics
from smoothcert.jobs.scripts import Scripts, broker_errors
from smoothcert.jobs.tasks import Message
from smoothcert.jobs.workers import WorkerStatus
from smoothcert.schemas.certificate import InputDigest
from smoothcert.schemas.job import Job, Progress
from smoothcert.schemas.parameters import Parameters

ANONYMOUS = "anyone"  # the owner of every job while no API keys are configured

Lane = Literal["single", "batch"]


@dataclass(frozen=True)
class Limits:
    """Limits of the store. queue_cap: waiting jobs; 0 for no limit. ttl: seconds a record outlives its last
    change. pause: seconds without calls to the broker after a timeout.
    """

    queue_cap: int = 10_000
    ttl: int = DAY
    pause: float = 0.0


@dataclass(frozen=True)
class Request:
    """What to certify, and for which owner.

    body: digest of everything the caller sent; the same `idempotency_key` with another body is refused.
    open_cap: unfinished jobs the owner may have at once; 0 for no limit. request_id: of the HTTP request.
    lane: single jobs and those of a batch have separate queues (docs/decisions/0004-job-record.md).
    batch_id: its batch, which lives as long as its jobs.
    seed: 128 bits in hexadecimal; random by default. The service never accepts one from a caller, who could
    choose the image to fit the noise. engine_config: by default the worker chooses.
    """

    model: str
    parameters: Parameters
    image: CertifiedImage
    owner: str = ANONYMOUS
    idempotency_key: str | None = None
    body: str = ""
    open_cap: int = 0
    request_id: str = ""
    lane: Lane = "single"
    batch_id: str = ""
    seed: str | None = None
    engine_config: str = ""


@dataclass(frozen=True)
class Submission:
    """A submitted job. message: to be sent; None if the idempotency key had created the job before."""

    job: Job
    message: Message | None

    @property
    def created(self) -> bool:
        """Whether this call created the job."""
        return self.message is not None

    @property
    def job_id(self) -> str:
        return self.job.id


@dataclass(frozen=True)
class Page:
    """Some jobs, newest first. cursor: for the next page; None on the last."""

    jobs: list[Job]
    cursor: str | None


def new_id() -> str:
    """An id that can't be guessed: 144 random bits."""
    return secrets.token_urlsafe(18)


def hashed(key: str | None) -> str:
    """The digest of an idempotency key. Callers choose keys; a digest is short, and safe in a Redis key."""
    return "" if key is None else hashlib.sha256(key.encode()).hexdigest()


def question_digest(request: Request) -> str:
    """The digest of what a request asks: pixels, model and sigma, whatever its other parameters."""
    pixels = request.image.digest
    question = [request.model, request.parameters.sigma, pixels.shape, pixels.sha256]
    return hashlib.sha256(json.dumps(question).encode()).hexdigest()


class JobStore:
    """The job records in Redis. Every method may raise BrokerUnavailable.

    The calls block: asynchronous code makes them in a thread.
    """

    def __init__(self, client: redis.Redis, limits: Limits | None = None, root: str = ROOT) -> None:
        assert not client.get_connection_kwargs().get("decode_responses")
        self.client = client
        self.limits = limits or Limits()
        self.root = root
        self.scripts = Scripts(client, root, self.limits.pause)

    def submit(self, request: Request, job_id: str | None = None) -> Submission:
        """Writes a queued job with its image and its secret seed. The caller then sends the message.

        job_id: the id to use; submitting it twice creates one job.
        Raises KeyReused, QueueFull, OverQuota.
        """
        parameters, image = request.parameters, request.image
        status, stored_id, row, queue, message = self.scripts.run(
            "submit",
            data=image.pixels,
            id=job_id or new_id(),
            owner=request.owner,
            model=request.model,
            parameters=parameters.model_dump_json(),
            progress=Progress(of=parameters.n).model_dump_json(),
            seed=request.seed or secrets.token_hex(16),  # secret until the job has ended
            idempotency=hashed(request.idempotency_key),
            body=request.body,
            digest=image.digest.model_dump_json(),
            into=queue_of(request.model, request.lane),
            queue_cap=self.limits.queue_cap,
            open_cap=request.open_cap,
            ttl=self.limits.ttl,
            request=request.request_id,
            lane=request.lane,
            batch=request.batch_id,
            engine_config=request.engine_config,
            question=question_digest(request),
        )
        refusals = {b"conflict": KeyReused, b"full": QueueFull, b"quota": OverQuota}
        if status in refusals:
            raise refusals[status]
        job = job_of(stored_id.decode(), Row(*row))
        created = status == b"created"
        return Submission(job, Message(job.id, queue.decode(), message) if created else None)

    def job(self, job_id: str, owner: str | None = None) -> Job | None:
        """The job; None if unknown, expired, or (with `owner`) another owner's."""
        (fields,) = self.scripts.run("view", ids=[job_id])
        row = Row.of(fields)
        if row is None or owner not in (None, row.owner.decode()):
            return None
        return job_of(job_id, row)

    def jobs(self, job_ids: Sequence[str]) -> list[Job | None]:
        """Several jobs by one call; None for each that is unknown or expired."""
        rows = map(Row.of, self.scripts.run("view", ids=list(job_ids)) if job_ids else [])
        return [row and job_of(job_id, row) for job_id, row in zip(job_ids, rows, strict=True)]

    def cancel(self, job_id: str) -> Literal["cancelled", "ended", "unknown"]:
        """Ends the job at once; it keeps its best certificate so far. `ended`: it had ended before."""
        reply = self.scripts.run("cancel", id=job_id, ttl=self.limits.ttl)
        names: dict[int, Literal["cancelled", "ended", "unknown"]] = {
            1: "cancelled",
            0: "ended",
            -1: "unknown",
        }
        return names[reply]

    def image(self, job_id: str) -> CertifiedImage | None:
        """The certified pixels; None if unknown or expired."""
        with broker_errors():
            stored: Any = self.client.hmget(self._key("image", job_id), "pixels", "digest")
        pixels, digest = stored
        return None if pixels is None else CertifiedImage(pixels, InputDigest.model_validate_json(digest))

    def page(self, owner: str = ANONYMOUS, cursor: str | None = None, limit: int = 50) -> Page:
        """The owner's jobs, newest first. cursor: from the previous page. Raises ValueError if forged."""
        top = "+inf" if cursor is None else f"({int(cursor)}"
        with broker_errors():
            found: Any = self.client.zrange(
                self._key("owner", owner),
                top,
                "-inf",
                desc=True,
                byscore=True,
                withscores=True,
                offset=0,
                num=limit,
            )
        ids = [member.decode() for member, _ in found]
        jobs = [job for job in self.jobs(ids) if job]
        return Page(jobs, str(int(found[-1][1])) if len(found) == limit else None)

    def refuse_model(self, model: str, reason: str) -> None:
        """Records why a worker can't load the model."""
        with broker_errors():
            self.client.hset(f"{self.root}:refused_models", model, reason)
            self.client.expire(f"{self.root}:refused_models", DAY)

    def accept_model(self, model: str) -> None:
        """Deletes that record: a worker has loaded the model."""
        with broker_errors():
            self.client.hdel(f"{self.root}:refused_models", model)

    def refused_models(self) -> dict[str, str]:
        """Why models could not be loaded, by name; kept for a day, or until a worker loads them."""
        with broker_errors():
            reasons = self.client.hgetall(f"{self.root}:refused_models")
        return {model.decode(): reason.decode() for model, reason in reasons.items()}  # type: ignore[union-attr]

    def workers(self) -> list[WorkerStatus]:
        """The living workers, with the models they can run."""
        return [WorkerStatus.model_validate_json(status) for status in self.scripts.run("workers")]

    def metrics(self) -> Metrics:
        """A snapshot of all metrics of jobs and workers."""
        return Metrics.of(self.scripts.run("metrics"))

    def ping(self) -> None:
        """Returns if the broker responds."""
        with broker_errors():
            self.client.ping()

    def _key(self, *parts: str) -> str:
        return ":".join((self.root, *parts))


WINDOW = 60  # seconds of a rate limit


@dataclass(frozen=True)
class Allowance:
    """The outcome for one request. taken: whether it was allowed. remaining: requests allowed right now.
    full_in, retry_in: seconds until the whole quota is available, until one request is.
    """

    taken: bool
    remaining: int
    full_in: int
    retry_in: int


class RateLimit:
    """One quota per caller, refilled steadily over WINDOW seconds: exact over all processes of the service.

    May raise BrokerUnavailable.
    """

    def __init__(self, scripts: Scripts) -> None:
        self.scripts = scripts

    def spend(self, caller: str, quota: int) -> Allowance:
        """Takes one request from a quota of `quota` requests per window, if one is left."""
        taken, remaining, full_in, retry_in = self.scripts.run(
            "rate_limit", caller=caller, quota=quota, window=WINDOW
        )
        return Allowance(bool(taken), remaining, full_in, retry_in)
