"""What the transitions count, one life of a job at a time."""

import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import redis

from smoothcert.jobs.batches import Batches
from smoothcert.jobs.figures import Figures, Queue
from smoothcert.jobs.jobs import JobStore, Limits, Request
from smoothcert.jobs.leases import Leases, LostLease, Terms, Work
from smoothcert.jobs.workers import WorkerInfo
from smoothcert.schemas.job import Problem, Progress
from tests.jobs.conftest import LEASE
from tests.jobs.holding import HALF, certificate, claimed

QUARTER = Work(votes=5_000, seconds=0.25)


def counted(store: JobStore) -> dict[str, int]:
    """All that was counted of model m but its histograms."""
    names = store.figures().counts
    return {":".join((n[0], *n[2:])): k for n, k in names.items() if n[0] not in ("job", "chunk")}


@pytest.fixture
def job_id(store: JobStore, request_: Request) -> str:
    return store.submit(request_).job_id


def test_an_empty_store_has_counted_nothing(store: JobStore) -> None:
    figures = store.figures()
    assert (figures.counts, figures.queues, figures.running, figures.workers) == ({}, {}, 0, ())
    assert figures.bounds[0] == "0.05"


def test_the_ends_of_buckets_grow(store: JobStore) -> None:
    ends = [float(end) for end in store.figures().bounds]
    assert ends == sorted(set(ends))


def test_votes_chunks_and_the_outcome_of_a_job(store: JobStore, leases: Leases, job_id: str) -> None:
    claim = claimed(leases, job_id)
    leases.progress(claim, "state", HALF, work=QUARTER)
    leases.progress(claim, "state", HALF, work=Work(20_000, 1.0))
    leases.finish(claim, certificate(claim.seed), HALF, work=Work(10, 9000.0))
    assert counted(store) == {"submitted": 1, "attempts": 1, "votes": 25_010, "jobs:certified": 1}
    chunks = store.figures().histogram("chunk", "m")
    sizes = dict(chunks.buckets)
    assert (sizes["0.2"], sizes["0.3"], sizes["0.5"], sizes["1"], sizes["7200"], sizes["+Inf"]) == (
        0, 1, 1, 2, 2, 3,
    )  # fmt: skip
    assert chunks.seconds == 9001.25
    life = store.figures().histogram("job", "m")
    assert life.buckets[-1] == ("+Inf", 1)
    assert 0 < life.seconds < 60


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(422, "refused"), (500, "failed")],
)
def test_a_failure_is_the_requests_or_the_workers(
    store: JobStore, leases: Leases, job_id: str, status: int, outcome: str
) -> None:
    claim = claimed(leases, job_id)
    leases.progress(claim, "state", HALF, certificate(claim.seed), QUARTER)
    leases.fail(claim, Problem(title="t", status=status, detail='"status":418'))
    assert counted(store) == {"submitted": 1, "attempts": 1, "votes": 5_000, f"jobs:{outcome}": 1}


def test_an_abstention_is_no_certificate(store: JobStore, leases: Leases, job_id: str) -> None:
    claim = claimed(leases, job_id)
    abstained = certificate(claim.seed).model_copy(update={"outcome": "abstained", "radius": 0.0})
    leases.finish(claim, abstained, HALF)
    assert store.figures().count("jobs", "m", "abstained") == 1


def test_a_cancelled_job_with_a_certificate_is_cancelled(
    store: JobStore, leases: Leases, job_id: str
) -> None:
    claim = claimed(leases, job_id)
    leases.progress(claim, "state", HALF, certificate(claim.seed))
    store.cancel(job_id)
    store.cancel(job_id)
    assert counted(store) == {"submitted": 1, "attempts": 1, "jobs:cancelled": 1}


def test_leases_that_ran_out_are_told_from_children_that_died(
    store: JobStore, leases: Leases, job_id: str
) -> None:
    claimed(leases, job_id)
    claimed(leases, job_id)  # by the same worker, whose lease lives: its child died
    time.sleep(LEASE * 1.2)
    assert [due.job_id for due in leases.overdue()] == [job_id]
    claimed(leases, job_id)
    time.sleep(LEASE * 1.2)
    assert leases.claim(job_id, "w2", "x") == "exhausted"
    assert counted(store) == {
        "submitted": 1,
        "attempts": 3,
        "lost:child": 1,
        "lost:lease": 2,
        "jobs:exhausted": 1,
    }


def test_a_janitor_that_gives_a_job_up_counts_it_once(store: JobStore, leases: Leases, job_id: str) -> None:
    for _ in range(leases.terms.attempts):
        claimed(leases, job_id)
    time.sleep(LEASE * 1.2)
    assert leases.overdue() == []
    assert leases.overdue() == []
    figures = store.figures()
    assert (figures.count("lost", "m", "lease"), figures.count("jobs", "m", "exhausted")) == (1, 1)


def test_letting_go_restarting_and_sending_again_are_counted(
    store: JobStore, leases: Leases, job_id: str, client: redis.Redis
) -> None:
    claim = claimed(leases, job_id)
    leases.restart(claim)
    leases.hand_back(claim)
    assert len(Leases(client, Terms(grace=0.0)).overdue(idle=["m"])) == 1
    assert counted(store) == {"submitted": 1, "attempts": 1, "restarts": 1, "handed_back": 1, "resent": 1}


def test_a_clock_set_back_takes_no_time_off_what_was_counted(
    store: JobStore, job_id: str, client: redis.Redis
) -> None:
    client.hincrby(f"{store.root}:job:{job_id}", "created", 3_600_000_000)
    store.cancel(job_id)
    life = store.figures().histogram("job", "m")
    assert (life.buckets[0], life.seconds) == (("0.05", 1), 0.0)


def test_a_refused_transition_counts_nothing(store: JobStore, leases: Leases, request_: Request) -> None:
    full = JobStore(store.client, Limits(queue_cap=1))
    keyed = replace(request_, idempotency_key="k", body="b")
    claim = claimed(leases, full.submit(keyed).job_id)
    assert not full.submit(keyed).created
    leases.finish(claim, certificate(claim.seed), HALF)
    before = counted(store)
    with pytest.raises(LostLease):
        leases.finish(claim, certificate(claim.seed), HALF, work=QUARTER)
    assert leases.claim(claim.job_id, "w2", "x") == "over"
    assert counted(store) == before == {"submitted": 1, "attempts": 1, "jobs:certified": 1}


def test_the_oldest_job_has_waited_since_it_was_queued_however_often_it_was_sent(
    store: JobStore, request_: Request, client: redis.Redis
) -> None:
    store.submit(replace(request_, lane="batch"))
    time.sleep(0.3)
    store.submit(request_)
    store.submit(replace(request_, model="other"))
    assert len(Leases(client, Terms(grace=0.1)).overdue(idle=["m"])) == 1
    queues = store.figures().queues
    assert (queues["m"].depth, queues["other"].depth) == (2, 1)
    assert 0.3 <= queues["m"].oldest < 30
    assert 0 < queues["other"].oldest < queues["m"].oldest


def test_a_job_that_runs_does_not_wait(store: JobStore, leases: Leases, job_id: str) -> None:
    claimed(leases, job_id)
    figures = store.figures()
    assert figures.running == 1
    assert figures.queues == {"m": Queue(0, 0.0)}


def test_a_worker_is_seen_with_its_age(store: JobStore, leases: Leases) -> None:
    worker = WorkerInfo(id="w", host="h", models=["m"], started_at=datetime.now(UTC), ready=False)
    leases.beat(worker, ttl=60)
    time.sleep(0.2)
    (sighting,) = store.figures().workers
    assert sighting.worker == worker.model_copy(update={"silence": 60})
    assert 0.2 <= sighting.age < 30


def test_a_worker_that_a_broker_lost_what_it_said_of_itself_is_not_shown(
    store: JobStore, leases: Leases
) -> None:
    leases.beat(WorkerInfo(id="w", host="h", models=["m"], started_at=datetime.now(UTC)), ttl=60)
    store.client.delete(f"{store.root}:workers:about")
    assert (store.figures().workers, store.workers()) == ((), [])


def test_a_queue_that_nobody_serves_forgets_what_expired(
    store: JobStore, client: redis.Redis, request_: Request
) -> None:
    brief = JobStore(client, Limits(ttl=1))
    brief.submit(request_)
    client.persist(f"{store.root}:queue:m")
    client.persist(f"{store.root}:models")
    time.sleep(1.2)
    assert store.depth() == 1
    assert Leases(client, Terms(ttl=1)).overdue() == []
    assert store.depth() == 0


def test_a_batch_lives_as_long_as_its_jobs(
    store: JobStore, leases: Leases, request_: Request, client: redis.Redis
) -> None:
    plan = Batches(store).plan(1, "anyone")
    store.submit(replace(request_, batch_id=plan.batch_id), plan.job_ids[0])
    client.expire(f"{store.root}:batch:{plan.batch_id}", 1)
    claim = claimed(leases, plan.job_ids[0])
    leases.progress(claim, "state", Progress(of=1))
    assert client.ttl(f"{store.root}:batch:{plan.batch_id}") > 1


def test_names_read_back_as_they_were_counted() -> None:
    figures = Figures.of([[b"0.05"], [b"jobs:a.b-1:certified", b"2"], [], 0, []])
    assert figures.count("jobs", "a.b-1", "certified") == 2
    assert figures.models() == {"a.b-1"}


def test_an_answer_that_says_less_of_each_is_not_read_as_if_it_were_whole() -> None:
    """As while service and record are of two versions."""
    with pytest.raises(ValueError, match="shorter"):
        Figures.of([[], [], [b"m", 1, b"5", b"n", 2], 0, []])


@pytest.mark.parametrize(("left", "age"), [(59_750_000, 0.25), (61_000_000, 0.0), (60_000_000, 0.0)])
def test_a_sign_of_life_is_never_from_the_future(left: int, age: float) -> None:
    worker = WorkerInfo(id="w", host="h", models=["m"], started_at=datetime.now(UTC), silence=60)
    figures = Figures.of([[], [], [], 0, [worker.model_dump_json().encode(), left]])
    assert [sighting.age for sighting in figures.workers] == [age]
