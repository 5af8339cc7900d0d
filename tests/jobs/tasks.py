"""Tasks of workers, by hand: what the record is asked and answers, step by step."""

import secrets
from datetime import UTC, datetime
from typing import Any

import redis

from smoothcert.jobs.store import JobStore
from smoothcert.jobs.tasks import Answer, Delivery, Message, Pin, Policy, Task
from smoothcert.jobs.votes import VoteStore
from smoothcert.jobs.workers import WorkerStatus, WorkerStore
from smoothcert.schemas.certificate import Certificate, EngineDescription, InputDigest, Look, ModelDigest
from smoothcert.schemas.job import Job, Progress

N = 1000  # votes of a job
RANGES = 10
ENGINE = EngineDescription(device="d", backend="b", precision="p", batch=50)
PIN = Pin(ENGINE, "w", first_votes=N // RANGES, range_votes=N // RANGES, ranges=RANGES)
HALF = Progress(samples=500, of=N)


def message_of(client: redis.Redis, job_id: str) -> Message:
    """The job's latest message, as its record names it."""
    queue, number = client.hmget(f"{{smoothcert}}:job:{job_id}", "queue", "chain")  # type: ignore[misc]
    assert queue is not None
    assert number is not None
    return Message(job_id, queue.decode(), int(number))


def begin(votes: VoteStore, job_id: str, *, task_id: str | None = None, number: int | None = None) -> Any:
    """What a delivery of the job's latest message (or number `number`) answers."""
    message = message_of(votes.scripts.client, job_id)
    number = message.number if number is None else number
    return votes.begin(job_id, number, task_id or f"{job_id}.{number}", secrets.token_hex(4))


def begun(votes: VoteStore, job_id: str, **what: Any) -> Task:
    task = begin(votes, job_id, **what)
    assert isinstance(task, Task), task
    return task


def bring(
    votes: VoteStore, task: Task, k: int, *, leave: bool = False, folded: int = 0, **more: Any
) -> Answer | None:
    """Range k's counts; the state covers `folded` ranges."""
    delivery = Delivery(
        pin=PIN,
        range=k,
        counts=f"counts {k}",
        votes=PIN.range_votes,
        seconds=0.25,
        folded=folded,
        state=f"state {folded}",
        progress=Progress(samples=folded * PIN.range_votes, of=N),
        certificate=more.pop("certificate", None),
    )
    return votes.deliver(task, delivery, leave=leave, models=["m"], **more)


def brought(votes: VoteStore, task: Task, k: int, **more: Any) -> Answer:
    answer = bring(votes, task, k, **more)
    assert answer is not None
    return answer


def look(store: JobStore, job_id: str) -> Job:
    job = store.job(job_id)
    assert job is not None
    return job


def workers(client: redis.Redis, **policy: Any) -> WorkerStore:
    return WorkerStore(client, Policy(**policy))


def alive(*votes: VoteStore, models: tuple[str, ...] = ("m",)) -> None:
    """These workers live and have loaded these models."""
    for one in votes:
        status = WorkerStatus(
            id=one.worker, host="h", models=list(models), started_at=datetime.now(UTC), platform=one.platform
        )
        workers(one.scripts.client).beat(status, silence=3600)
        one.beat(list(models), silence=3600)


def certificate(seed: str, outcome: str = "certified") -> Certificate:
    """One that looks like one."""
    return Certificate(
        outcome=outcome,
        procedure="certify",
        predicted_class=0 if outcome == "certified" else None,
        label="a" if outcome == "certified" else None,
        radius=0.5 if outcome == "certified" else 0.0,
        sigma=0.5,
        alpha=0.001,
        n0=100,
        n=N,
        drawn=N,
        selection_counts=[100, 0],
        counts=[N, 0],
        bound="one_sided",
        p_lower=0.9,
        p_upper=0.1,
        schedule=[Look(n=N, alpha=0.001)],
        slack=0.0,
        target_radius=None,
        target_met=None,
        model=ModelDigest(name="m", sha256="0" * 64, classifier_sha256="0" * 64),
        input=InputDigest(shape=(1, 2, 2), sha256="0" * 64, preprocessing=[]),
        seed=seed,
        engine=ENGINE,
        issued_at=datetime.now(UTC),
    )
