import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import redis

from certification.contract.certificate import Certificate, Engine, InputDigest, ModelDigest
from certification.contract.job import Job, Progress
from certification.contract.problem import Problem
from certification.contract.store.jobs import JobStore, Request
from certification.contract.store.leases import Claim, Due, Leases, LostLease, Terms
from certification.contract.store.workers import WorkerInfo
from tests.certification.contract.store.conftest import LEASE

ENGINE = Engine(device="d", backend="b", precision="p", batch=1)
HALF = Progress(samples=50, of=100_000, radius=0.1, predicted_class=1, counts=[10, 40])


def certificate(seed: str) -> Certificate:
    return Certificate(
        outcome="certified",
        procedure="anytime",
        predicted_class=1,
        label="b",
        radius=0.1,
        sigma=0.5,
        alpha=0.001,
        n0=100,
        n=50,
        selection_counts=[0, 100],
        counts=[10, 40],
        bound="runner_up",
        p_lower=0.6,
        p_upper=0.3,
        schedule=[],
        target_radius=None,
        target_met=None,
        model=ModelDigest(name="m", sha256="0" * 64),
        input=InputDigest(shape=(1, 2, 2), sha256="0" * 64, preprocessing=[]),
        seed=seed,
        engine=ENGINE,
        issued_at=datetime.now(UTC),
    )


@pytest.fixture
def job_id(store: JobStore, request_: Request) -> str:
    return store.submit(request_).job_id


def claimed(leases: Leases, job_id: str, worker: str = "w1", platform: str = "x") -> Claim:
    claim = leases.claim(job_id, worker, platform)
    assert isinstance(claim, Claim), claim
    return claim


def look(store: JobStore, job_id: str) -> Job:
    job = store.job(job_id)
    assert job is not None
    return job


def test_a_claimed_job_runs_under_its_seed(store: JobStore, leases: Leases, job_id: str) -> None:
    claim = claimed(leases, job_id)
    job = look(store, job_id)
    assert (job.status, job.attempts, job.queue_position) == ("running", 1, None)
    assert job.started_at is not None
    assert len(bytes.fromhex(claim.seed)) == 16
    assert (claim.model, claim.attempt, claim.state, claim.engine) == ("m", 1, None, None)


def test_a_request_may_bring_its_seed_and_its_set_up(
    store: JobStore, leases: Leases, request_: Request
) -> None:
    job_id = store.submit(replace(request_, seed="0f" * 16, setup="cpu:eager/1-threads:float32:8")).job_id
    claim = claimed(leases, job_id)
    assert (claim.seed, claim.setup) == ("0f" * 16, "cpu:eager/1-threads:float32:8")
    again = leases.restart(claim)
    assert (again.seed, again.setup) == (claim.seed, claim.setup)


def test_several_jobs_are_seen_by_one_call(store: JobStore, job_id: str) -> None:
    seen = store.jobs([job_id, "unknown"])
    assert [job and job.id for job in seen] == [job_id, None]
    assert store.jobs([]) == []


def test_two_jobs_have_two_seeds(store: JobStore, leases: Leases, request_: Request) -> None:
    seeds = {claimed(leases, store.submit(request_).job_id).seed for _ in range(2)}
    assert len(seeds) == 2


def test_a_held_job_is_not_given_to_another_worker(leases: Leases, job_id: str) -> None:
    claimed(leases, job_id)
    assert leases.claim(job_id, "w2", "x") == "busy"
    assert leases.claim("unknown", "w2", "x") == "gone"


def test_a_worker_takes_over_from_its_own_dead_child(leases: Leases, job_id: str) -> None:
    dead = claimed(leases, job_id)
    claimed(leases, job_id)
    with pytest.raises(LostLease):
        leases.renew(dead)


def test_a_job_goes_on_from_its_last_report_when_its_lease_runs_out(leases: Leases, job_id: str) -> None:
    first = claimed(leases, job_id)
    leases.pin(first, ENGINE, "x", "w")
    leases.progress(first, "state", HALF)
    time.sleep(LEASE * 1.2)
    second = claimed(leases, job_id, "w2")
    assert (second.state, second.engine, second.weights) == ("state", ENGINE, "w")
    assert (second.seed, second.attempt) == (first.seed, 2)


def test_a_fenced_off_worker_can_write_nothing(store: JobStore, leases: Leases, job_id: str) -> None:
    late = claimed(leases, job_id)
    time.sleep(LEASE * 1.2)
    claimed(leases, job_id, "w2")
    before = look(store, job_id)
    with pytest.raises(LostLease):
        leases.progress(late, "state", HALF)
    with pytest.raises(LostLease):
        leases.finish(late, certificate(late.seed), HALF)
    with pytest.raises(LostLease):
        leases.fail(late, Problem(title="t", status=500, detail="d"))
    with pytest.raises(LostLease):
        leases.hand_back(late)
    with pytest.raises(LostLease):
        leases.pin(late, ENGINE, "x", "w")
    with pytest.raises(LostLease):
        leases.restart(late)
    assert look(store, job_id) == before


def test_renewing_keeps_the_lease(leases: Leases, job_id: str) -> None:
    claim = claimed(leases, job_id)
    for _ in range(4):
        time.sleep(LEASE / 2)
        leases.renew(claim)
    assert leases.claim(job_id, "w2", "x") == "busy"
    assert leases.overdue() == []


def test_progress_shows_and_the_seed_does_not(store: JobStore, leases: Leases, job_id: str) -> None:
    claim = claimed(leases, job_id)
    leases.progress(claim, "state", HALF, certificate(claim.seed))
    job = look(store, job_id)
    assert job.progress == HALF
    assert job.certificate is None
    assert claim.seed not in job.model_dump_json()


def test_progress_tells_how_many_jobs_wait(
    store: JobStore, leases: Leases, job_id: str, request_: Request
) -> None:
    claim = claimed(leases, job_id)
    assert leases.progress(claim, "state", HALF) == 0
    store.submit(request_)
    assert leases.progress(claim, "state", HALF) == 1


def test_a_finished_job_never_changes(store: JobStore, leases: Leases, job_id: str) -> None:
    claim = claimed(leases, job_id)
    done = certificate(claim.seed)
    leases.finish(claim, done, HALF)
    job = look(store, job_id)
    assert (job.status, job.certificate) == ("succeeded", done)
    assert leases.claim(job_id, "w1", "x") == "over"
    assert store.cancel(job_id) == "ended"
    assert leases.overdue() == []
    with pytest.raises(LostLease):
        leases.fail(claim, Problem(title="t", status=500, detail="d"))
    assert look(store, job_id) == job


def test_a_cancelled_job_keeps_its_best_certificate(store: JobStore, leases: Leases, job_id: str) -> None:
    claim = claimed(leases, job_id)
    best = certificate(claim.seed)
    leases.progress(claim, "state", HALF, best)
    assert store.cancel(job_id) == "cancelled"
    assert look(store, job_id).certificate == best
    with pytest.raises(LostLease):
        leases.progress(claim, "state", HALF)


def test_a_failed_job_says_why(store: JobStore, leases: Leases, job_id: str) -> None:
    problem = Problem(title="t", status=500, detail="d")
    leases.fail(claimed(leases, job_id), problem)
    job = look(store, job_id)
    assert (job.status, job.error) == ("failed", problem)


def test_a_job_handed_back_queues_behind_the_others(
    store: JobStore, leases: Leases, job_id: str, request_: Request
) -> None:
    claim = claimed(leases, job_id)
    other = store.submit(request_).job_id
    leases.progress(claim, "state", HALF)
    leases.hand_back(claim)
    job = look(store, job_id)
    assert (job.status, job.queue_position, job.attempts) == ("queued", 1, 0)
    assert look(store, other).queue_position == 0
    assert claimed(leases, job_id, "w2").job_id == other, "the record says which is next"
    assert claimed(leases, other, "w3").state == "state"


def test_a_job_that_loses_every_worker_fails(store: JobStore, leases: Leases, job_id: str) -> None:
    for _ in range(leases.terms.attempts):
        claimed(leases, job_id)
    assert leases.claim(job_id, "w1", "x") == "exhausted"
    job = look(store, job_id)
    assert job.status == "failed"
    assert job.error is not None
    assert "3 attempts" in job.error.detail


def test_the_janitor_gives_up_a_job_that_loses_every_worker(
    store: JobStore, leases: Leases, job_id: str
) -> None:
    for _ in range(leases.terms.attempts):
        claimed(leases, job_id)
    time.sleep(LEASE * 1.2)
    assert leases.overdue() == []
    assert look(store, job_id).status == "failed"


def test_the_janitor_requeues_a_job_whose_lease_ran_out(store: JobStore, leases: Leases, job_id: str) -> None:
    late = claimed(leases, job_id)
    assert leases.overdue() == []
    time.sleep(LEASE * 1.2)
    assert leases.overdue() == [Due(job_id, "m")]
    assert look(store, job_id).status == "queued"
    with pytest.raises(LostLease):
        leases.renew(late)
    assert leases.overdue() == []


def test_a_message_is_lost_when_its_queue_is_empty(leases: Leases, job_id: str) -> None:
    assert leases.overdue(idle=["m"]) == []  # it may still be on its way
    time.sleep(leases.terms.grace * 1.2)
    assert leases.overdue() == []  # it may be waiting
    assert leases.overdue(idle=["m"]) == [Due(job_id, "m")]
    assert leases.overdue(idle=["m"]) == []


def test_a_message_brings_the_first_job_of_its_queue_so_that_none_waits_for_its_own(
    store: JobStore, leases: Leases, job_id: str, request_: Request
) -> None:
    later = store.submit(request_).job_id
    assert claimed(leases, later, "w1").job_id == job_id
    assert claimed(leases, later, "w2").job_id == later


def test_jobs_of_a_batch_let_single_ones_pass_but_not_for_ever(
    store: JobStore, leases: Leases, request_: Request
) -> None:
    batch = [store.submit(replace(request_, lane="batch")).job_id for _ in range(2)]
    singles = [store.submit(request_).job_id for _ in range(5)]
    order = [claimed(leases, batch[0], f"w{i}").job_id for i in range(7)]
    assert order == [*singles[:4], batch[0], singles[4], batch[1]]


def test_a_job_pinned_elsewhere_holds_up_none_behind_it(
    store: JobStore, leases: Leases, job_id: str, request_: Request
) -> None:
    leases.beat(WorkerInfo(id="w1", host="h", models=["m"], started_at=datetime.now(UTC)), ttl=60)
    first = claimed(leases, job_id, "w1", "x")
    leases.pin(first, ENGINE, "x", "w")
    leases.hand_back(first)
    behind = store.submit(request_).job_id
    assert claimed(leases, job_id, "w2", "y").job_id == behind
    assert look(store, job_id).queue_position == 0


def test_a_pinned_job_waits_for_its_platform_while_that_lives(leases: Leases, job_id: str) -> None:
    worker = WorkerInfo(id="w1", host="h", models=["m"], started_at=datetime.now(UTC))
    leases.beat(worker, ttl=60)
    first = claimed(leases, job_id, "w1", "x")
    leases.pin(first, ENGINE, "x", "w")
    leases.progress(first, "state", HALF)
    leases.hand_back(first)
    assert leases.claim(job_id, "w2", "y") == "elsewhere"
    leases.leave("w1")
    again = claimed(leases, job_id, "w2", "y")
    assert (again.state, again.engine, again.weights) == (None, None, None)
    assert again.seed == first.seed


def test_a_pinned_job_does_not_wait_for_a_worker_that_lost_its_model(leases: Leases, job_id: str) -> None:
    worker = WorkerInfo(id="w1", host="h", models=["m"], started_at=datetime.now(UTC))
    leases.beat(worker, ttl=60)
    first = claimed(leases, job_id, "w1", "x")
    leases.pin(first, ENGINE, "x", "w")
    leases.hand_back(first)
    leases.beat(worker.model_copy(update={"models": ["another"]}), ttl=60)
    assert claimed(leases, job_id, "w2", "y").engine is None


def test_a_job_longer_than_a_records_life_stays_among_the_running(
    leases: Leases, job_id: str, client: redis.Redis, store: JobStore
) -> None:
    claim = claimed(leases, job_id)
    client.expire(f"{store.root}:running", 1)
    leases.renew(claim)
    assert client.ttl(f"{store.root}:running") > 1
    client.expire(f"{store.root}:running", 1)
    leases.progress(claim, "state", HALF)
    assert client.ttl(f"{store.root}:running") > 1


def test_a_restarted_job_forgets_its_votes(store: JobStore, leases: Leases, job_id: str) -> None:
    claim = claimed(leases, job_id)
    leases.pin(claim, ENGINE, "x", "w")
    leases.progress(claim, "state", HALF, certificate(claim.seed))
    assert leases.restart(claim).state is None
    assert look(store, job_id).progress == Progress(of=100_000)
    store.cancel(job_id)
    assert look(store, job_id).certificate is None


def test_workers_are_listed_while_they_live(store: JobStore, leases: Leases) -> None:
    worker = WorkerInfo(id="w1", host="h", models=["m"], started_at=datetime.now(UTC))
    leases.beat(worker, ttl=60)
    leases.beat(worker.model_copy(update={"id": "w2"}), ttl=1)
    assert {info.id for info in store.workers()} == {"w1", "w2"}
    time.sleep(1.1)
    assert store.workers() == [worker.model_copy(update={"silence": 60})]
    leases.leave("w1")
    assert store.workers() == []


def test_every_key_of_a_running_job_expires(
    store: JobStore, leases: Leases, job_id: str, client: redis.Redis
) -> None:
    claim = claimed(leases, job_id)
    leases.beat(WorkerInfo(id="w1", host="h", models=[], started_at=datetime.now(UTC)), ttl=60)
    leases.progress(claim, "state", HALF, certificate(claim.seed))
    keys = set(client.keys()) - {f"{store.root}:figures".encode()}  # which is kept, and doesn't grow
    assert len(keys) >= 6
    assert all(client.ttl(key) > 0 for key in keys)


def test_a_record_that_expired_leaves_no_trace_in_the_queue(
    client: redis.Redis, request_: Request, job_id: str, store: JobStore
) -> None:
    leases = Leases(client, Terms(grace=0.0))
    client.delete(f"{store.root}:job:{job_id}")
    assert leases.overdue(idle=["m"]) == []
    assert store.depth() == 0


def test_a_running_job_ends_even_when_the_broker_is_full(
    store: JobStore, leases: Leases, job_id: str, client: redis.Redis
) -> None:
    claim = claimed(leases, job_id)
    client.config_set("maxmemory", 1)
    try:
        leases.progress(claim, "state", HALF)
        leases.finish(claim, certificate(claim.seed), HALF)
    finally:
        client.config_set("maxmemory", 0)
    assert look(store, job_id).status == "succeeded"


def hour_ahead(client: redis.Redis, store: JobStore, job_id: str) -> None:
    """What a record says when the server's clock was set back by an hour since it was written."""
    hash_ = f"{store.root}:job:{job_id}"
    for name in ("lease", "renewed", "sent"):
        if (written := client.hget(hash_, name)) is not None:
            client.hset(hash_, name, int(written) + 3_600_000_000)
    for set_ in (f"{store.root}:running", f"{store.root}:workers"):
        for member, score in client.zrange(set_, 0, -1, withscores=True):
            client.zadd(set_, {member: score + 3_600_000_000})


def test_a_lease_given_before_the_clock_was_set_back_still_ends(
    store: JobStore, leases: Leases, job_id: str, client: redis.Redis
) -> None:
    claimed(leases, job_id)
    hour_ahead(client, store, job_id)
    assert leases.overdue() == [], "its holder may be alive"
    assert leases.claim(job_id, "w2", "x") == "busy"
    time.sleep(LEASE * 1.2)
    assert leases.overdue() == [Due(job_id, "m")]


def test_a_message_sent_before_the_clock_was_set_back_can_be_lost(
    store: JobStore, leases: Leases, job_id: str, client: redis.Redis
) -> None:
    hour_ahead(client, store, job_id)
    assert leases.overdue(idle=["m"]) == [Due(job_id, "m")]


def test_a_worker_that_died_before_the_clock_was_set_back_is_forgotten(
    store: JobStore, leases: Leases, client: redis.Redis
) -> None:
    dead = WorkerInfo(id="w1", host="h", models=["m"], started_at=datetime.now(UTC))
    leases.beat(dead, ttl=1)
    hour_ahead(client, store, "none")
    alive = dead.model_copy(update={"id": "w2"})
    leases.beat(alive, ttl=1)
    time.sleep(1.1)
    leases.beat(alive, ttl=60)
    assert [worker.id for worker in store.workers()] == ["w2"]


def test_signs_of_life_are_taken_by_a_full_broker(
    leases: Leases, store: JobStore, client: redis.Redis
) -> None:
    client.config_set("maxmemory", 1)
    try:
        leases.beat(WorkerInfo(id="w1", host="h", models=["m"], started_at=datetime.now(UTC)), ttl=60)
    finally:
        client.config_set("maxmemory", 0)
    assert [worker.id for worker in store.workers()] == ["w1"]
