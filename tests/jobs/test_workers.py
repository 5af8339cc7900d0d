"""The sweep: what fell by the wayside is found, by any number of workers, and nothing else is touched."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import redis

from smoothcert.jobs.keys import MAX_DELIVERIES, platform_queue, queue_of
from smoothcert.jobs.store import JobStore, Lane, Request
from smoothcert.jobs.tasks import HELPER, TIME_LIMIT, Message
from smoothcert.jobs.votes import VoteStore
from smoothcert.jobs.workers import WorkerStatus
from tests.jobs.tasks import alive, begin, begun, bring, brought, look, workers


def sweep(client: redis.Redis, **policy: float) -> list[Message]:
    return list(workers(client, **{"grace": 0.0, **policy}).sweep().lost)


def gone(client: redis.Redis, worker: str) -> None:
    workers(client).leave(worker)


def age(client: redis.Redis, job_id: str, seconds: float) -> None:
    """As if its message had been sent so long ago."""
    name = f"{{smoothcert}}:job:{job_id}"
    moment = str(int(client.time()[0] - seconds) * 1_000_000)
    client.hset(name, mapping={"sent": moment, "waiting_since": moment})


@pytest.mark.parametrize("lane", ["single", "batch"])
def test_a_lost_message_is_sent_again(
    store: JobStore, client: redis.Redis, request_: Request, lane: Lane
) -> None:
    job_id = store.submit(replace(request_, lane=lane)).job_id
    assert sweep(client) == [Message(job_id, queue_of("m", lane), 2)]


def test_a_message_that_waits_in_its_queue_is_not(client: redis.Redis, job_id: str) -> None:
    client.rpush(queue_of("m"), "the message")
    age(client, job_id, 3600)
    assert sweep(client) == []


def test_nor_is_one_that_was_sent_a_moment_ago(client: redis.Redis, job_id: str) -> None:
    assert sweep(client, grace=60) == []
    age(client, job_id, 61)
    assert [message.job_id for message in sweep(client, grace=60)] == [job_id]
    assert sweep(client, grace=60) == []


def test_a_message_that_many_later_ones_overtook_is_lost_even_while_others_wait(
    votes: VoteStore, store: JobStore, client: redis.Redis, request_: Request, job_id: str
) -> None:
    client.rpush(queue_of("m"), "messages")
    later = [store.submit(request_).job_id for _ in range(20)]
    for one in later:
        begun(votes, one)
        store.cancel(one)
    assert [message.job_id for message in sweep(client)] == [job_id]


def test_a_job_whose_worker_died_is_sent_to_its_platform(
    votes: VoteStore, store: JobStore, client: redis.Redis, job_id: str
) -> None:
    other = VoteStore(client, "w2", "x")
    alive(votes, other)
    brought(votes, begun(votes, job_id), 0, folded=1)
    assert sweep(client) == []
    gone(client, "w1")
    assert sweep(client) == [Message(job_id, platform_queue("m", "x"), 2)]
    assert look(store, job_id).attempts == 1
    assert begun(other, job_id).range == 1
    assert store.metrics().count("lost", "m", "worker") == 1


def test_a_dead_helpers_range_is_given_to_the_next_who_asks(
    votes: VoteStore, store: JobStore, client: redis.Redis, job_id: str
) -> None:
    other = VoteStore(client, "w2", "x")
    alive(votes, other)
    task = begun(votes, job_id)
    brought(votes, task, 0, folded=1)
    begun(other, job_id, number=HELPER, task_id="h")
    gone(client, "w2")
    assert sweep(client) == [], "w1 is at work on it"
    assert brought(votes, task, 1, folded=2).range == 2


def test_the_tasks_of_a_child_that_died_are_lost_at_once(
    votes: VoteStore, store: JobStore, client: redis.Redis, job_id: str
) -> None:
    alive(votes)
    brought(votes, begun(votes, job_id), 0, folded=1)
    workers(client).lose_child("w1")
    assert sweep(client) == [Message(job_id, platform_queue("m", "x"), 2)]
    assert store.metrics().count("lost", "m", "child") == 1


def test_a_helper_takes_the_place_of_a_main_task_that_died(
    votes: VoteStore, client: redis.Redis, job_id: str
) -> None:
    other = VoteStore(client, "w2", "x")
    alive(votes, other)
    brought(votes, begun(votes, job_id), 0, folded=1)
    workers(client).lose_child("w1")
    (message,) = sweep(client)
    task = begun(other, job_id, number=HELPER, task_id="h")
    assert (task.main, task.range) == (True, 1)
    assert begin(votes, job_id, number=message.number) == "stale"
    assert sweep(client) == [], "w2 is at work on it"


def test_a_helper_does_not_go_before_the_jobs_that_its_job_waits_behind(
    votes: VoteStore, client: redis.Redis, job_id: str
) -> None:
    task = begun(votes, job_id)
    bring(votes, task, 0, folded=1, leave=True)
    helping = begun(VoteStore(client, "w2", "x"), job_id, number=HELPER, task_id="h")
    assert not helping.main
    assert begun(votes, job_id).main


def test_so_are_those_of_a_child_before_the_one_that_lives(
    votes: VoteStore, client: redis.Redis, job_id: str
) -> None:
    alive(votes)
    brought(votes, begun(votes, job_id), 0, folded=1)
    alive(VoteStore(client, "w1", "x"))
    assert sweep(client) == [Message(job_id, platform_queue("m", "x"), 2)]


def test_a_task_older_than_the_time_limit_is_lost_though_its_worker_lives(
    votes: VoteStore, client: redis.Redis, job_id: str
) -> None:
    alive(votes)
    task = begun(votes, job_id)
    name = f"{{smoothcert}}:tasks:{job_id}"
    since = (int(client.time()[0]) - TIME_LIMIT - 120) * 1_000_000
    client.hset(name, task.task_id, json.dumps({"worker": votes.child, "range": 0, "since": since}))
    assert [message.job_id for message in sweep(client)] == [job_id]


def test_a_range_that_ends_worker_after_worker_fails_the_job(
    votes: VoteStore, store: JobStore, client: redis.Redis, job_id: str
) -> None:
    for _ in range(MAX_DELIVERIES):
        alive(votes)
        begun(votes, job_id)
        gone(client, "w1")
        sweep(client)
    job = look(store, job_id)
    assert (job.status, job.attempts) == ("failed", MAX_DELIVERIES - 1)
    assert sweep(client) == []


def test_a_running_job_without_a_task_or_a_message_is_found_and_misses_no_range(
    votes: VoteStore, client: redis.Redis, job_id: str
) -> None:
    """As where a broker lost its last second."""
    alive(votes)
    brought(votes, begun(votes, job_id), 0, folded=1)
    client.delete(f"{{smoothcert}}:tasks:{job_id}")
    assert sweep(client) == [Message(job_id, platform_queue("m", "x"), 2)]
    assert begun(votes, job_id).range == 1


def test_a_job_starts_again_elsewhere_only_when_no_worker_of_its_platform_lives(
    votes: VoteStore, store: JobStore, client: redis.Redis, job_id: str
) -> None:
    alive(votes, VoteStore(client, "w2", "x"), VoteStore(client, "w3", "y"))
    task = begun(votes, job_id)
    brought(votes, task, 0, leave=True, folded=1)
    gone(client, "w1")
    client.rpush(queue_of("m"), "its message")
    assert sweep(client) == []
    gone(client, "w2")
    (message,) = sweep(client)
    assert message.queue == queue_of("m")
    again = begun(VoteStore(client, "w3", "y"), job_id)
    assert (again.epoch, again.range, again.folded, again.pin, again.seed) == (2, 0, 0, None, task.seed)
    assert store.metrics().count("restarts", "m") == 1
    assert begin(votes, job_id, number=2) == "stale"


def test_a_job_waits_for_its_platform_while_there_is_no_worker_at_all(
    votes: VoteStore, client: redis.Redis, job_id: str
) -> None:
    alive(votes)
    brought(votes, begun(votes, job_id), 0, leave=True, folded=1)
    gone(client, "w1")
    client.rpush(queue_of("m"), "its message")
    assert sweep(client) == []
    other = VoteStore(client, "w2", "x")
    alive(other)
    assert begun(other, job_id).range == 1


@pytest.mark.parametrize(("platform", "expected"), [("x", (1, 1)), ("y", (2, 0))])
def test_a_restarted_worker_continues_the_job_unless_its_platform_is_another(
    votes: VoteStore, client: redis.Redis, job_id: str, platform: str, expected: tuple[int, int]
) -> None:
    """While the only worker loads, nobody knows its platform: it may be the one that the job is pinned to."""
    alive(votes)
    brought(votes, begun(votes, job_id), 0, leave=True, folded=1)
    gone(client, "w1")
    client.rpush(queue_of("m"), "its message")
    starting = WorkerStatus(id="w2", host="h", models=[], loading=["m"], started_at=datetime.now(UTC))
    workers(client).beat(starting, silence=3600)
    assert sweep(client) == []
    other = VoteStore(client, "w2", platform)
    alive(other)
    assert len(sweep(client)) == (platform == "y")
    task = begun(other, job_id)
    assert (task.epoch, task.range) == expected


def test_a_job_of_a_model_that_no_worker_has_is_given_up(
    store: JobStore, client: redis.Redis, job_id: str
) -> None:
    alive(VoteStore(client, "w1", "x"), models=("another",))
    client.rpush(queue_of("m"), "its message")
    patient = workers(client, unserved=60)
    patient.sweep()
    age(client, job_id, 61)
    assert patient.sweep().given_up == ()
    client.hset("{smoothcert}:served", "m", str(int(client.time()[0] - 61) * 1_000_000))
    assert patient.sweep().given_up == (job_id,)
    error = look(store, job_id).error
    assert error is not None
    assert (error.status, "model m for 60 s" in error.detail) == (503, True)


def test_time_in_which_nobody_looked_does_not_count(
    store: JobStore, client: redis.Redis, job_id: str
) -> None:
    client.rpush(queue_of("m"), "its message")
    patient = workers(client, unserved=60)
    patient.sweep()
    long_ago = str(int(client.time()[0] - 3600) * 1_000_000)
    age(client, job_id, 3600)
    client.hset("{smoothcert}:served", mapping={"m": long_ago, "": long_ago})
    assert patient.sweep().given_up == ()


def test_a_job_of_a_model_that_could_not_be_loaded_ends_with_the_reason(
    store: JobStore, client: redis.Redis, job_id: str
) -> None:
    alive(VoteStore(client, "w1", "x"), models=("another",))
    client.rpush(queue_of("m"), "its message")
    store.refuse_model("m", "Its weights are cut off.")
    age(client, job_id, 61)
    swept = workers(client, grace=60)
    swept.sweep()
    assert swept.sweep().given_up == (job_id,)
    error = look(store, job_id).error
    assert error is not None
    assert error.detail == "The model m can't be loaded: Its weights are cut off."


def test_a_clock_that_was_set_back_stops_nothing(client: redis.Redis, job_id: str) -> None:
    age(client, job_id, -3600)
    assert [message.job_id for message in sweep(client, grace=60)] == [job_id]


def test_workers_of_before_a_step_of_the_clock_do_not_live_for_ever(client: redis.Redis) -> None:
    other = VoteStore(client, "w2", "x")
    alive(VoteStore(client, "w1", "x"), other)
    for name in ("workers", "children"):
        client.zadd(f"{{smoothcert}}:{name}", {"w1": int(client.time()[0] + 7200) * 1_000_000})
    alive(other)
    for name in ("workers", "children"):
        until = client.zscore(f"{{smoothcert}}:{name}", "w1") or 0
        assert until <= int(client.time()[0] + 3601) * 1_000_000  # type: ignore[operator]


def test_an_expired_record_leaves_its_place(store: JobStore, client: redis.Redis, job_id: str) -> None:
    client.delete(f"{{smoothcert}}:job:{job_id}")
    assert sweep(client) == []
    assert client.zcard(f"{{smoothcert}}:waiting:{queue_of('m')}") == 0
    assert message_queues(client) == set()


def message_queues(client: redis.Redis) -> set[bytes]:
    sweep(client)
    return set(client.hkeys("{smoothcert}:queues")) - {b""}  # type: ignore[arg-type]


def test_queues_in_which_nothing_waits_are_forgotten(
    votes: VoteStore, store: JobStore, client: redis.Redis, job_id: str
) -> None:
    assert message_queues(client) == {queue_of("m").encode()}
    store.cancel(job_id)
    assert message_queues(client) == set()
