"""A batch written down before its jobs: who asks again finds it, and what it lacks."""

from dataclasses import replace

import pytest
import redis

from smoothcert.errors import KeyReused
from smoothcert.jobs.batches import Batches, BatchPlan
from smoothcert.jobs.store import JobStore, Limits, Request

OWNER = "me"


@pytest.fixture
def batches(store: JobStore) -> Batches:
    return Batches(store)


def submit(batches: Batches, request_: Request, plan: BatchPlan, *places: int) -> None:
    for place in places:
        asked = replace(request_, owner=OWNER, batch_id=plan.batch_id, lane="batch")
        batches.store.submit(asked, plan.job_ids[place])


def test_a_batch_lists_its_jobs_in_the_order_of_their_images(batches: Batches, request_: Request) -> None:
    plan = batches.plan(3, OWNER)
    assert plan.missing == set(plan.job_ids)
    submit(batches, request_, plan, 2, 0, 1)
    batch = batches.batch(plan.batch_id, OWNER)
    assert batch is not None
    assert [job.id for job in batch.jobs] == list(plan.job_ids)
    assert batch.counts == {"queued": 3}


def test_who_asks_again_under_a_key_is_told_what_is_missing(batches: Batches, request_: Request) -> None:
    first = batches.plan(3, OWNER, "k", "body")
    submit(batches, request_, first, 0, 2)
    again = batches.plan(3, OWNER, "k", "body")
    assert (again.batch_id, again.job_ids) == (first.batch_id, first.job_ids)
    assert again.missing == {first.job_ids[1]}


def test_a_key_used_again_for_other_images_is_refused(batches: Batches) -> None:
    batches.plan(2, OWNER, "k", "body")
    with pytest.raises(KeyReused):
        batches.plan(2, OWNER, "k", "another body")


def test_without_a_key_every_batch_is_another(batches: Batches, client: redis.Redis) -> None:
    first, second = (batches.plan(1, OWNER, None, "body") for _ in range(2))
    assert first.batch_id != second.batch_id
    assert not client.keys("*:batch-key:*")


def test_batch_keys_of_two_owners_or_two_names_do_not_meet(batches: Batches) -> None:
    made = [batches.plan(1, owner, key, "body").batch_id for owner in ("me", "you") for key in ("k", "l")]
    assert len(set(made)) == 4


def test_a_dropped_batch_leaves_its_key_free(batches: Batches) -> None:
    plan = batches.plan(1, OWNER, "k", "body")
    batches.drop(plan)
    assert batches.batch(plan.batch_id, OWNER) is None
    assert batches.plan(1, OWNER, "k", "another body").batch_id != plan.batch_id


def test_a_foreign_or_unknown_batch_is_nobodys(batches: Batches) -> None:
    plan = batches.plan(1, OWNER)
    assert batches.batch(plan.batch_id, "you") is None
    assert batches.batch("unknown", OWNER) is None


def test_a_batch_and_its_key_expire_with_the_records(client: redis.Redis) -> None:
    Batches(JobStore(client, Limits(ttl=100))).plan(1, OWNER, "k", "body")
    keys = client.keys()
    assert len(keys) == 2
    assert all(95 < client.ttl(key) <= 100 for key in keys)
