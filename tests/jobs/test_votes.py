"""A worker's transitions: what comes twice, late, or from a task that is over changes nothing."""

from dataclasses import replace

import pytest
import redis

from smoothcert.jobs.keys import MAX_DELIVERIES, platform_queue, queue_of
from smoothcert.jobs.store import JobStore, Request
from smoothcert.jobs.tasks import HELPER, NO_RANGE, Delivery, Message, Task
from smoothcert.jobs.votes import VoteStore
from smoothcert.schemas.job import Problem, Progress
from tests.jobs.tasks import (
    HALF,
    PIN,
    RANGES,
    alive,
    begin,
    begun,
    bring,
    brought,
    certificate,
    look,
    message_of,
)

PROBLEM = Problem(title="t", status=500, detail="d")


@pytest.fixture
def other(client: redis.Redis) -> VoteStore:
    """Worker w2, of the same platform."""
    return VoteStore(client, "w2", "x")


def helper(votes: VoteStore, job_id: str) -> Task:
    return begun(votes, job_id, number=HELPER, task_id=f"{job_id}.helper-{votes.worker}")


def test_a_task_begins_with_all_that_it_needs(votes: VoteStore, store: JobStore, request_: Request) -> None:
    job_id = store.submit(replace(request_, request_id="r", engine_config="s", seed="ab")).job_id
    task = begun(votes, job_id)
    assert (task.model, task.parameters, task.image) == ("m", request_.parameters, request_.image)
    assert (task.seed, task.request_id, task.engine_config) == ("ab", "r", "s")
    assert (task.range, task.epoch, task.folded, task.pin, task.state, task.counts) == (
        0,
        1,
        0,
        None,
        None,
        {},
    )
    job = look(store, job_id)
    assert (job.status, job.attempts, job.queue_position) == ("running", 0, None)
    assert job.started_at is not None


def test_there_is_nothing_to_begin_of_a_job_that_is_gone_or_over(
    votes: VoteStore, store: JobStore, job_id: str
) -> None:
    assert votes.begin("unknown", 1, "t", "d") == "gone"
    store.cancel(job_id)
    assert begin(votes, job_id) == "over"


def test_a_message_that_was_replaced_is_stale(votes: VoteStore, job_id: str) -> None:
    task = begun(votes, job_id)
    successor = brought(votes, task, 0, leave=True, folded=1).successor
    assert successor == Message(job_id, queue_of("m"), 2)
    assert begin(votes, job_id, number=1) == "stale"
    assert begun(votes, job_id, number=2).range == 1


def test_ranges_are_given_out_in_order_and_the_last_task_leaves_no_successor(
    votes: VoteStore, job_id: str
) -> None:
    task = begun(votes, job_id)
    given = [brought(votes, task, k, folded=k + 1).range for k in range(RANGES - 1)]
    assert given == list(range(1, RANGES))
    assert brought(votes, task, RANGES - 1, leave=True, folded=RANGES).successor is None


def test_a_successor_goes_on_from_the_state(votes: VoteStore, store: JobStore, job_id: str) -> None:
    task = begun(votes, job_id)
    brought(votes, task, 0, leave=True, folded=1)
    assert (look(store, job_id).status, look(store, job_id).queue_position) == ("running", None)
    following = begun(votes, job_id)
    assert (following.range, following.folded, following.state, following.pin) == (1, 1, "state 1", PIN)


def test_two_tasks_never_get_the_same_range_while_both_are_at_work(
    votes: VoteStore, other: VoteStore, job_id: str
) -> None:
    task = begun(votes, job_id)
    assert brought(votes, task, 0, folded=1).range == 1
    helping = helper(other, job_id)
    assert helping.range == 2
    assert brought(other, helping, 2, folded=1).range == 3
    assert brought(votes, task, 1, folded=2).range == 4


def test_counts_wait_until_those_before_them_are_in_and_are_handed_to_who_can_fold_them(
    votes: VoteStore, other: VoteStore, store: JobStore, job_id: str
) -> None:
    task = begun(votes, job_id)
    brought(votes, task, 0, folded=1)
    helping = helper(other, job_id)
    assert brought(other, helping, 2, folded=1).counts == ()
    answer = brought(votes, task, 1, folded=2)
    assert (answer.counts, answer.folded, answer.state) == (("counts 2",), 2, "")
    late = brought(other, helping, 3, folded=1)
    assert (late.folded, late.state, late.counts) == (2, "state 2", ("counts 2", "counts 3"))
    assert look(store, job_id).progress.samples == 200


def test_a_state_is_only_replaced_by_one_that_covers_more(
    votes: VoteStore, store: JobStore, job_id: str
) -> None:
    task = begun(votes, job_id)
    for k, folded in ((0, 1), (1, 2), (2, 3)):
        brought(votes, task, k, folded=folded)
    version = look(store, job_id).version
    answer = brought(votes, task, 1, folded=2)
    assert (answer.folded, answer.state) == (3, "state 3")
    assert look(store, job_id).progress.samples == 300
    assert look(store, job_id).version == version


def test_counts_that_come_twice_are_stored_and_counted_once(
    votes: VoteStore, other: VoteStore, store: JobStore, job_id: str
) -> None:
    task = begun(votes, job_id)
    brought(votes, task, 0, folded=1)
    helping = helper(other, job_id)
    brought(other, helping, 2, folded=1)
    brought(other, helping, 2, folded=1)
    assert store.metrics().count("votes", "m") == 2 * PIN.range_votes


def test_a_task_whose_answer_was_lost_asks_again_and_no_range_is_forgotten(
    votes: VoteStore, job_id: str
) -> None:
    task = begun(votes, job_id)
    assert brought(votes, task, 0, folded=1).range == 1
    assert brought(votes, task, 0, folded=1).range == 1, "it was given in the answer that was lost"
    for k in range(1, RANGES):
        answer = brought(votes, task, k, folded=k + 1)
    assert answer.range == NO_RANGE


def test_the_same_delivery_may_begin_twice_and_costs_no_attempt(
    votes: VoteStore, store: JobStore, job_id: str
) -> None:
    first = votes.begin(job_id, 1, "t", "d")
    again = votes.begin(job_id, 1, "t", "d")
    assert first == again
    assert look(store, job_id).attempts == 0


def test_a_task_that_is_delivered_again_gets_its_range_again(
    votes: VoteStore, store: JobStore, job_id: str
) -> None:
    task = begun(votes, job_id)
    assert brought(votes, task, 0, folded=1).range == 1
    again = begun(votes, job_id)
    assert (again.range, again.folded) == (1, 1)
    assert look(store, job_id).attempts == 1
    assert store.metrics().count("lost", "m", "child") == 1


def test_a_range_that_ends_its_worker_each_time_fails_the_job(
    votes: VoteStore, store: JobStore, job_id: str
) -> None:
    for _ in range(MAX_DELIVERIES):
        begun(votes, job_id)
    assert begin(votes, job_id) == "exhausted"
    job = look(store, job_id)
    assert (job.status, job.attempts) == ("failed", MAX_DELIVERIES - 1)
    assert job.error is not None
    assert "3 attempts" in job.error.detail
    assert begin(votes, job_id) == "over"


def test_attempts_of_different_ranges_do_not_add_up(votes: VoteStore, store: JobStore, job_id: str) -> None:
    for k in range(MAX_DELIVERIES + 2):
        begun(votes, job_id)
        brought(votes, begun(votes, job_id), k, folded=k + 1)
    assert look(store, job_id).status == "running"


def test_a_helper_needs_a_job_that_is_pinned_to_its_platform(
    votes: VoteStore, client: redis.Redis, job_id: str
) -> None:
    task = begun(votes, job_id)
    assert begin(votes, job_id, number=HELPER, task_id="h") == "over"
    brought(votes, task, 0, folded=1)
    assert begin(VoteStore(client, "w3", "y"), job_id, number=HELPER, task_id="h") == "over"
    assert helper(votes, job_id).range == 2


def test_a_helper_that_leaves_without_its_range_costs_no_attempt(
    votes: VoteStore, other: VoteStore, store: JobStore, job_id: str
) -> None:
    task = begun(votes, job_id)
    brought(votes, task, 0, folded=1)
    helping = helper(other, job_id)
    other.deliver(helping, Delivery(PIN), leave=True, models=[])
    assert brought(votes, task, 1, folded=2).range == 2
    assert look(store, job_id).attempts == 0


def test_a_job_that_is_pinned_elsewhere_is_sent_on_to_its_platform(
    votes: VoteStore, client: redis.Redis, store: JobStore, job_id: str
) -> None:
    brought(votes, begun(votes, job_id), 0, folded=1)
    stranger = VoteStore(client, "w3", "y")
    sent_on = begin(stranger, job_id)
    assert sent_on == Message(job_id, platform_queue("m", "x"), 2)
    assert begun(votes, job_id).range == 1
    assert look(store, job_id).attempts == 1, "the range that the first task had was delivered again"


def test_two_tasks_that_were_both_first_do_not_mix_their_votes(
    votes: VoteStore, client: redis.Redis, job_id: str
) -> None:
    task = begun(votes, job_id)
    brought(votes, task, 0, folded=1)
    elsewhere = Delivery(replace(PIN, weights="other"), range=0, counts="c", votes=1, folded=1, state="s")
    assert votes.deliver(task, elsewhere, models=[]) is None


def test_two_tasks_that_were_both_first_on_two_platforms_do_not_mix_their_votes(
    votes: VoteStore, client: redis.Redis, job_id: str
) -> None:
    """Even where both describe their engine in the same words."""
    stranger = VoteStore(client, "w3", "y")
    task, late = begun(votes, job_id), begun(stranger, job_id, task_id="another")
    brought(votes, task, 0, folded=1)
    assert bring(stranger, late, 0, folded=1) is None


def test_a_restart_forgets_all_votes_and_the_tasks_of_before_are_over(
    votes: VoteStore, other: VoteStore, store: JobStore, job_id: str
) -> None:
    task = begun(votes, job_id)
    brought(votes, task, 0, folded=1, certificate=certificate(task.seed))
    helping = helper(other, job_id)
    fresh = votes.restart(task)
    assert fresh is not None
    assert (fresh.epoch, fresh.range, fresh.pin, fresh.seed) == (2, 0, None, task.seed)
    assert bring(other, helping, 2, folded=1) is None
    assert votes.restart(task) is None
    assert look(store, job_id).progress == Progress(samples=0, of=1000)
    assert brought(votes, fresh, 0, folded=1).range == 1


def test_a_job_ends_once(votes: VoteStore, other: VoteStore, store: JobStore, job_id: str) -> None:
    task = begun(votes, job_id)
    brought(votes, task, 0, folded=1)
    helping = helper(other, job_id)
    assert votes.finish(task, certificate(task.seed), HALF)
    ended = look(store, job_id)
    assert (ended.status, ended.certificate is not None) == ("succeeded", True)
    assert not other.finish(helping, certificate(task.seed, "abstained"), HALF)
    assert not other.fail(helping, PROBLEM)
    assert bring(other, helping, 2, folded=3) is None
    assert store.cancel(job_id) == "ended"
    assert look(store, job_id) == ended


def test_a_cancelled_job_keeps_its_best_certificate_and_its_task_is_over(
    votes: VoteStore, store: JobStore, job_id: str
) -> None:
    task = begun(votes, job_id)
    proof = certificate(task.seed)
    brought(votes, task, 0, folded=1, certificate=proof)
    assert look(store, job_id).certificate is None, "the seed stays secret while it runs"
    store.cancel(job_id)
    assert look(store, job_id).certificate == proof
    assert bring(votes, task, 1, folded=2) is None


def test_a_task_learns_how_many_workers_are_idle(
    votes: VoteStore, store: JobStore, client: redis.Redis, request_: Request, job_id: str
) -> None:
    alive(votes, VoteStore(client, "w2", "x"), VoteStore(client, "w3", "x"), VoteStore(client, "w4", "y"))
    alive(VoteStore(client, "w5", "x"), models=("another",))
    task = begun(votes, job_id)
    answer = brought(votes, task, 0, folded=1, share=True)
    assert answer.idle == 2
    client.rpush(platform_queue("m", "x"), "a helper's message that nobody took yet")
    assert brought(votes, task, 1, folded=2, share=True).idle == 1


def test_a_helper_gets_no_range_while_jobs_wait_for_its_worker(
    votes: VoteStore, other: VoteStore, store: JobStore, request_: Request, job_id: str
) -> None:
    task = begun(votes, job_id)
    brought(votes, task, 0, folded=1)
    helping = helper(other, job_id)
    store.submit(replace(request_, model="another"))
    assert brought(other, helping, 2, folded=1).range == 3, "of a model that it does not have"
    store.submit(request_)
    answer = brought(other, helping, 3, folded=1)
    assert (answer.range, answer.successor) == (NO_RANGE, None)
    assert brought(votes, task, 1, folded=4).range == 4


def test_every_key_of_a_job_expires(
    votes: VoteStore, other: VoteStore, client: redis.Redis, request_: Request, store: JobStore
) -> None:
    job_id = store.submit(replace(request_, idempotency_key="k")).job_id
    alive(votes)
    task = begun(votes, job_id)
    brought(votes, task, 0, folded=1)
    brought(other, helper(other, job_id), 2, folded=1)
    lasting = {key for key in client.scan_iter() if client.ttl(key) <= 0}
    assert lasting == {b"{smoothcert}:metrics", b"{smoothcert}:queues"}
    assert client.hget("{smoothcert}:queues", message_of(client, job_id).queue) is not None
