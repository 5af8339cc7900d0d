"""A job under a lease: who holds it alone writes, and an end is the end."""

import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import redis

from smoothcert.jobs.jobs import JobStore, Request
from smoothcert.jobs.leases import IDLE, Leases, LostLease, Terms, Work
from smoothcert.jobs.workers import WorkerInfo
from smoothcert.schemas.job import Problem, Progress
from tests.jobs.conftest import LEASE
from tests.jobs.holding import ENGINE, HALF, certificate, claimed, look
from worker.settings import Settings


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


def test_a_claim_knows_the_request_that_asked_for_its_job(
    store: JobStore, leases: Leases, request_: Request
) -> None:
    asked = store.submit(replace(request_, request_id="shop-4711")).job_id
    assert claimed(leases, asked).request_id == "shop-4711"
    assert claimed(leases, store.submit(request_).job_id, "w2").request_id == ""


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


def test_no_fence_is_given_twice_although_the_clock_was_set_back(
    store: JobStore, leases: Leases, job_id: str, client: redis.Redis
) -> None:
    ahead = client.hincrby(f"{store.root}:job:{job_id}", "fence", int(client.time()[0] + 3600) * 1_000_000)
    fences = [int(claimed(leases, job_id).fence) for _ in range(leases.terms.attempts)]
    assert [ahead, *fences] == sorted({ahead, *fences})


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


def test_what_only_a_holder_needs_goes_with_it(
    store: JobStore, leases: Leases, job_id: str, client: redis.Redis
) -> None:
    def kept() -> set[bytes]:
        return {b"holder", b"lease", b"renewed", b"state"} & set(client.hkeys(f"{store.root}:job:{job_id}"))

    claim = claimed(leases, job_id)
    leases.progress(claim, "state", HALF)
    assert len(kept()) == 4
    leases.hand_back(claim)
    assert kept() == {b"state"}
    leases.finish(claimed(leases, job_id), certificate(claim.seed), HALF)
    assert kept() == set()


def test_a_job_let_go_is_kept_as_long_as_any_other(
    store: JobStore, leases: Leases, job_id: str, client: redis.Redis
) -> None:
    leases.hand_back(claimed(leases, job_id))
    assert 0 < client.ttl(f"{store.root}:job:{job_id}") <= leases.terms.ttl


def test_a_failed_job_says_why(store: JobStore, leases: Leases, job_id: str) -> None:
    problem = Problem(title="t", status=500, detail="d")
    leases.fail(claimed(leases, job_id), problem)
    job = look(store, job_id)
    assert (job.status, job.error) == ("failed", problem)


def test_a_failed_job_keeps_what_it_had_proved(store: JobStore, leases: Leases, job_id: str) -> None:
    claim = claimed(leases, job_id)
    best = certificate(claim.seed)
    leases.progress(claim, "state", HALF, best)
    leases.fail(claim, Problem(title="t", status=500, detail="d"))
    job = look(store, job_id)
    assert (job.certificate, job.progress) == (best, HALF)


def test_a_job_that_loses_every_worker_fails(store: JobStore, leases: Leases, job_id: str) -> None:
    for _ in range(leases.terms.attempts):
        claimed(leases, job_id)
    assert leases.claim(job_id, "w1", "x") == "exhausted"
    job = look(store, job_id)
    assert job.status == "failed"
    assert job.error is not None
    assert job.error.status == 500
    assert "3 attempts" in job.error.detail


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


def test_every_key_of_a_running_job_expires(
    store: JobStore, leases: Leases, job_id: str, client: redis.Redis
) -> None:
    claim = claimed(leases, job_id)
    leases.beat(WorkerInfo(id="w1", host="h", models=[], started_at=datetime.now(UTC)), ttl=60)
    leases.progress(claim, "state", HALF, certificate(claim.seed))
    keys = set(client.keys()) - {f"{store.root}:figures".encode()}  # which is kept, and doesn't grow
    assert len(keys) >= 6
    assert all(client.ttl(key) > 0 for key in keys)


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


def test_work_adds_up_from_nothing() -> None:
    assert IDLE.plus(4, 0.25).plus(3, 0.5) == Work(7, 0.75)


def test_terms_that_nobody_named_are_the_workers() -> None:
    assert Terms() == Settings().terms
