"""A broker without memory takes no new job, and lets every accepted one go on to its end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import redis

from smoothcert.errors import BrokerUnavailable
from smoothcert.jobs.keys import queue_of
from smoothcert.jobs.store import JobStore, Request
from smoothcert.jobs.tasks import Task
from smoothcert.jobs.votes import VoteStore
from smoothcert.schemas.job import Problem
from tests.jobs.tasks import HALF, alive, begun, brought, certificate, look, workers

Act = Callable[[VoteStore, JobStore, Task], object]
ACTS: dict[str, Act] = {
    "deliver": lambda votes, _, task: brought(votes, task, 0, folded=1),
    "leave": lambda votes, _, task: brought(votes, task, 0, leave=True, folded=1),
    "restart": lambda votes, _, task: votes.restart(task),
    "finish": lambda votes, _, task: votes.finish(task, certificate(task.seed), HALF),
    "fail": lambda votes, _, task: votes.fail(task, Problem(title="t", status=500, detail="d")),
    "cancel": lambda _, store, task: store.cancel(task.job_id),
    "begin again": lambda votes, _, task: begun(votes, task.job_id),
}


@contextmanager
def full(client: redis.Redis) -> Iterator[None]:
    client.config_set("maxmemory", 1)
    try:
        yield
    finally:
        client.config_set("maxmemory", 0)


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS.keys())
def test_a_task_at_work_may_do_all_it_does(
    votes: VoteStore, store: JobStore, client: redis.Redis, job_id: str, act: Act
) -> None:
    task = begun(votes, job_id)
    before = look(store, job_id).version
    with full(client):
        act(votes, store, task)
    assert look(store, job_id).version > before


def test_a_queued_job_begins_and_its_readers_see_it(
    votes: VoteStore, store: JobStore, client: redis.Redis, job_id: str
) -> None:
    with full(client):
        assert begun(votes, job_id).range == 0
        assert look(store, job_id).status == "running"


def test_a_new_job_is_refused_in_words(store: JobStore, client: redis.Redis, request_: Request) -> None:
    with full(client), pytest.raises(BrokerUnavailable, match="memory"):
        store.submit(request_)


def test_workers_show_signs_of_life_and_lost_jobs_are_found(
    votes: VoteStore, client: redis.Redis, job_id: str
) -> None:
    with full(client):
        workers(client).leave("w1")
        assert [message.job_id for message in workers(client, grace=0.0).sweep().lost] == [job_id]


def test_a_job_that_no_worker_can_serve_ends(store: JobStore, client: redis.Redis, job_id: str) -> None:
    client.rpush(queue_of("m"), "its message")
    impatient = workers(client, unserved=0.001)
    impatient.sweep()
    with full(client):
        while not impatient.sweep().given_up:
            pass
    assert look(store, job_id).status == "failed"


def test_a_child_shows_signs_of_life(votes: VoteStore, client: redis.Redis) -> None:
    with full(client):
        alive(votes)
    assert client.hexists("{smoothcert}:workers:child", "w1")
