"""A job waits as long as it must while a worker has its model; its record doesn't expire meanwhile."""

import time
from dataclasses import replace

import pytest
import redis

from smoothcert.errors import OverQuota
from smoothcert.jobs.store import JobStore, Lane, Limits, Request
from smoothcert.jobs.tasks import Policy
from smoothcert.jobs.votes import VoteStore
from smoothcert.jobs.workers import WorkerStore
from tests.jobs.tasks import alive, look

TTL = 3  # seconds


@pytest.fixture
def workers(client: redis.Redis) -> WorkerStore:
    return WorkerStore(client, Policy(grace=60, ttl=TTL))


@pytest.fixture
def brief(client: redis.Redis) -> JobStore:
    return JobStore(client, Limits(ttl=TTL))


def sweep_for(seconds: float, workers: WorkerStore) -> None:
    """As workers do, again and again."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        workers.sweep()
        time.sleep(TTL / 10)


def test_an_image_lives_as_long_as_its_record_however_often_the_message_is_sent_again(
    brief: JobStore, workers: WorkerStore, request_: Request, client: redis.Redis
) -> None:
    alive(VoteStore(client, "w1", "x"), models=(request_.model,))
    job_id = brief.submit(request_).job_id
    hasty = WorkerStore(client, Policy(grace=0.0, ttl=TTL))
    end = time.monotonic() + TTL * 1.5
    while time.monotonic() < end:
        assert [message.job_id for message in hasty.sweep().lost] == [job_id]
        time.sleep(TTL / 10)
    assert brief.image(job_id) is not None


@pytest.mark.parametrize("lane", ["single", "batch"])
def test_a_job_that_waits_longer_than_records_live_is_still_there_with_its_image(
    brief: JobStore, workers: WorkerStore, request_: Request, client: redis.Redis, lane: Lane
) -> None:
    alive(VoteStore(client, "w1", "x"), models=(request_.model,))
    job_id = brief.submit(replace(request_, lane=lane)).job_id
    sweep_for(TTL * 1.5, workers)
    job = look(brief, job_id)
    assert (job.status, job.queue_position) == ("queued", 0)
    assert brief.image(job_id) is not None


def test_a_job_that_waits_longer_than_records_live_counts_is_listed_and_is_found_by_its_key(
    brief: JobStore, workers: WorkerStore, request_: Request, client: redis.Redis
) -> None:
    alive(VoteStore(client, "w1", "x"), models=(request_.model,))
    asked = replace(request_, idempotency_key="k", body="b", open_cap=1)
    job_id = brief.submit(asked).job_id
    sweep_for(TTL * 1.5, workers)
    again = brief.submit(asked)
    assert (again.job_id, again.created) == (job_id, False)
    with pytest.raises(OverQuota):
        brief.submit(replace(request_, open_cap=1))
    brief.submit(request_)
    assert job_id in [job.id for job in brief.page().jobs]


def test_a_job_that_expired_leaves_its_owner_room(brief: JobStore, request_: Request) -> None:
    asked = replace(request_, open_cap=1)
    gone = brief.submit(asked).job_id
    brief.client.delete(f"{brief.root}:job:{gone}")
    brief.client.zadd(f"{brief.root}:open:{request_.owner}", {gone: 1})
    brief.client.zadd(f"{brief.root}:owner:{request_.owner}", {gone: 1})
    job_id = brief.submit(asked).job_id
    assert [job.id for job in brief.page().jobs] == [job_id]
    for list_ in ("owner", "open"):
        assert brief.client.zrange(f"{brief.root}:{list_}:{request_.owner}", 0, -1) == [job_id.encode()]


def test_a_job_that_nobody_can_serve_expires_with_its_place(
    brief: JobStore, workers: WorkerStore, request_: Request, client: redis.Redis
) -> None:
    alive(VoteStore(client, "w1", "x"), models=("another",))
    job_id = brief.submit(request_).job_id
    sweep_for(TTL * 1.5, workers)
    assert brief.job(job_id) is None
    assert client.zcard(f"{brief.root}:waiting:certify.{request_.model}") == 0
