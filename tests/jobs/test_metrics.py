"""What the transitions count, one life of a job at a time."""

import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import redis

from smoothcert.jobs.batches import Batches
from smoothcert.jobs.metrics import Metrics, Queue
from smoothcert.jobs.store import JobStore, Limits, Request
from smoothcert.jobs.tasks import Delivery, Policy, Task
from smoothcert.jobs.votes import VoteStore
from smoothcert.jobs.workers import WorkerStatus, WorkerStore
from smoothcert.schemas.job import Problem
from tests.jobs.tasks import HALF, PIN, begin, begun, brought, certificate


def counted(store: JobStore) -> dict[str, int]:
    """All that was counted of model m but its histograms."""
    names = store.metrics().counts
    return {":".join((n[0], *n[2:])): k for n, k in names.items() if n[0] not in ("job", "chunk")}


def deliver(votes: VoteStore, task: Task, k: int, number: int, seconds: float) -> None:
    delivery = Delivery(
        PIN, k, "counts", votes=number, seconds=seconds, folded=k + 1, state="s", progress=HALF
    )
    assert votes.deliver(task, delivery, models=["m"]) is not None


def test_an_empty_store_has_counted_nothing(store: JobStore) -> None:
    metrics = store.metrics()
    assert (metrics.counts, metrics.queues, metrics.running, metrics.workers) == ({}, {}, 0, ())
    assert metrics.bounds[0] == "0.05"


def test_the_ends_of_buckets_grow(store: JobStore) -> None:
    ends = [float(end) for end in store.metrics().bounds]
    assert ends == sorted(set(ends))


def test_votes_ranges_and_the_outcome_of_a_job(store: JobStore, votes: VoteStore, job_id: str) -> None:
    task = begun(votes, job_id)
    deliver(votes, task, 0, 5_000, 0.25)
    deliver(votes, task, 1, 20_000, 1.0)
    votes.finish(task, certificate(task.seed), HALF, votes=10, seconds=9000.0)
    assert counted(store) == {"submitted": 1, "attempts": 1, "votes": 25_010, "jobs:certified": 1}
    ranges = store.metrics().histogram("chunk", "m")
    sizes = dict(ranges.buckets)
    assert (sizes["0.2"], sizes["0.3"], sizes["0.5"], sizes["1"], sizes["7200"], sizes["+Inf"]) == (
        0, 1, 1, 2, 2, 3,
    )  # fmt: skip
    assert ranges.seconds == 9001.25
    life = store.metrics().histogram("job", "m")
    assert life.buckets[-1] == ("+Inf", 1)
    assert 0 < life.seconds < 60


@pytest.mark.parametrize(("status", "outcome"), [(422, "refused"), (500, "failed")])
def test_a_failure_is_the_requests_or_the_workers(
    store: JobStore, votes: VoteStore, job_id: str, status: int, outcome: str
) -> None:
    task = begun(votes, job_id)
    brought(votes, task, 0, folded=1, certificate=certificate(task.seed))
    votes.fail(task, Problem(title="t", status=status, detail='"status":418'))
    assert counted(store) == {"submitted": 1, "attempts": 1, "votes": 100, f"jobs:{outcome}": 1}


def test_an_abstention_is_no_certificate(store: JobStore, votes: VoteStore, job_id: str) -> None:
    task = begun(votes, job_id)
    votes.finish(task, certificate(task.seed, "abstained"), HALF)
    assert store.metrics().count("jobs", "m", "abstained") == 1


def test_a_cancelled_job_with_a_certificate_is_cancelled(
    store: JobStore, votes: VoteStore, job_id: str
) -> None:
    task = begun(votes, job_id)
    brought(votes, task, 0, folded=1, certificate=certificate(task.seed))
    store.cancel(job_id)
    store.cancel(job_id)
    assert counted(store) == {"submitted": 1, "attempts": 1, "votes": 100, "jobs:cancelled": 1}


def test_slices_restarts_and_lost_messages_are_counted(
    store: JobStore, votes: VoteStore, job_id: str, client: redis.Redis
) -> None:
    task = votes.restart(begun(votes, job_id))
    assert task is not None
    brought(votes, task, 0, leave=True, folded=1)
    assert len(WorkerStore(client, Policy(grace=0.0)).sweep().lost) == 1
    assert counted(store) == {
        "submitted": 1, "attempts": 1, "votes": 100, "restarts": 1, "handed_back": 1, "resent": 1,
    }  # fmt: skip


def test_a_clock_set_back_takes_no_time_off_what_was_counted(
    store: JobStore, job_id: str, client: redis.Redis
) -> None:
    client.hincrby(f"{store.root}:job:{job_id}", "created", 3_600_000_000)
    store.cancel(job_id)
    life = store.metrics().histogram("job", "m")
    assert (life.buckets[0], life.seconds) == (("0.05", 1), 0.0)


def test_a_refused_transition_counts_nothing(store: JobStore, votes: VoteStore, request_: Request) -> None:
    full = JobStore(store.client, Limits(queue_cap=1))
    keyed = replace(request_, idempotency_key="k", body="b")
    task = begun(votes, full.submit(keyed).job_id)
    assert not full.submit(keyed).created
    votes.finish(task, certificate(task.seed), HALF)
    before = counted(store)
    assert not votes.finish(task, certificate(task.seed), HALF, votes=5, seconds=1.0)
    assert begin(votes, task.job_id) == "over"
    assert counted(store) == before == {"submitted": 1, "attempts": 1, "jobs:certified": 1}


def test_the_oldest_job_has_waited_since_it_was_queued_however_often_it_was_sent(
    store: JobStore, request_: Request, client: redis.Redis
) -> None:
    store.submit(replace(request_, lane="batch"))
    time.sleep(0.3)
    store.submit(request_)
    store.submit(replace(request_, model="other"))
    assert len(WorkerStore(client, Policy(grace=0.2)).sweep().lost) == 1
    queues = store.metrics().queues
    assert (queues["m"].depth, queues["other"].depth) == (2, 1)
    assert 0.3 <= queues["m"].oldest < 30
    assert 0 < queues["other"].oldest < queues["m"].oldest


def test_a_job_that_runs_does_not_wait(store: JobStore, votes: VoteStore, job_id: str) -> None:
    begun(votes, job_id)
    metrics = store.metrics()
    assert metrics.running == 1
    assert metrics.queues == {"m": Queue(0, 0.0)}


def test_a_worker_is_seen_with_its_age(store: JobStore) -> None:
    worker = WorkerStatus(id="w", host="h", models=["m"], started_at=datetime.now(UTC), ready=False)
    WorkerStore(store.client).beat(worker, silence=60)
    time.sleep(0.2)
    (live,) = store.metrics().workers
    assert live.worker == worker.model_copy(update={"silence": 60})
    assert 0.2 <= live.age < 30


def test_a_worker_whose_status_the_broker_lost_is_not_shown(store: JobStore) -> None:
    status = WorkerStatus(id="w", host="h", models=["m"], started_at=datetime.now(UTC))
    WorkerStore(store.client).beat(status, silence=60)
    store.client.delete(f"{store.root}:workers:status")
    assert (store.metrics().workers, store.workers()) == ((), [])


def test_a_batch_lives_as_long_as_its_jobs(
    store: JobStore, votes: VoteStore, request_: Request, client: redis.Redis
) -> None:
    plan = Batches(store).plan(1, "anyone")
    store.submit(replace(request_, batch_id=plan.batch_id), plan.job_ids[0])
    client.expire(f"{store.root}:batch:{plan.batch_id}", 1)
    brought(votes, begun(votes, plan.job_ids[0]), 0, folded=1)
    assert client.ttl(f"{store.root}:batch:{plan.batch_id}") > 1


def test_names_read_back_as_they_were_counted() -> None:
    metrics = Metrics.of([[b"0.05"], [b"jobs:a.b-1:certified", b"2"], [], 0, []])
    assert metrics.count("jobs", "a.b-1", "certified") == 2
    assert metrics.models() == {"a.b-1"}


def test_an_answer_that_says_less_of_each_is_not_read_as_if_it_were_whole() -> None:
    """As while service and record are of two versions."""
    with pytest.raises(ValueError, match="shorter"):
        Metrics.of([[], [], [b"m", 1, b"5", b"n", 2], 0, []])


@pytest.mark.parametrize(("left", "age"), [(59_750_000, 0.25), (61_000_000, 0.0), (60_000_000, 0.0)])
def test_a_sign_of_life_is_never_from_the_future(left: int, age: float) -> None:
    worker = WorkerStatus(id="w", host="h", models=["m"], started_at=datetime.now(UTC), silence=60)
    metrics = Metrics.of([[], [], [], 0, [worker.model_dump_json().encode(), left]])
    assert [live.age for live in metrics.workers] == [age]
