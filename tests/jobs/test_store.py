import time
from base64 import urlsafe_b64decode
from dataclasses import replace

import pytest
import redis

from service.settings import Settings
from smoothcert.errors import BrokerUnavailable, KeyReused, OverQuota, QueueFull
from smoothcert.jobs.broker import connect
from smoothcert.jobs.store import WINDOW, Allowance, JobStore, Limits, RateLimit, Request, new_id
from smoothcert.jobs.tasks import Message, TaskPublisher


def waiting(store: JobStore) -> int:
    return sum(queue.depth for queue in store.metrics().queues.values())


def test_a_submitted_job_is_queued_and_shows_no_seed(store: JobStore, request_: Request) -> None:
    submission = store.submit(request_)
    job = store.job(submission.job_id)
    assert submission.created
    assert job is not None
    assert (job.status, job.queue_position, job.attempts) == ("queued", 0, 0)
    assert (job.progress.samples, job.progress.of) == (0, request_.parameters.n)
    assert job.parameters == request_.parameters
    assert "seed" not in job.model_dump_json()


def test_the_image_comes_back_as_it_went_in(store: JobStore, request_: Request) -> None:
    assert store.image(store.submit(request_).job_id) == request_.image
    assert store.image("unknown") is None


def test_the_queue_position_counts_the_jobs_ahead(store: JobStore, request_: Request) -> None:
    ids = [store.submit(request_).job_id for _ in range(3)]
    store.cancel(ids[0])
    positions = [job.queue_position for job in map(store.job, ids) if job]
    assert positions == [None, 0, 1]
    assert waiting(store) == 2


def test_the_same_key_and_body_name_the_same_job(store: JobStore, request_: Request) -> None:
    keyed = replace(request_, idempotency_key="k", body="b")
    first, again = store.submit(keyed), store.submit(keyed)
    assert (first.created, again.created) == (True, False)
    assert first.job_id == again.job_id
    assert waiting(store) == 1


def test_a_key_used_again_for_another_body_is_refused(store: JobStore, request_: Request) -> None:
    store.submit(replace(request_, idempotency_key="k", body="b"))
    with pytest.raises(KeyReused):
        store.submit(replace(request_, idempotency_key="k", body="c"))


def test_keys_of_two_owners_do_not_meet(store: JobStore, request_: Request) -> None:
    mine = store.submit(replace(request_, owner="me", idempotency_key="k", body="b"))
    yours = store.submit(replace(request_, owner="you", idempotency_key="k", body="c"))
    assert mine.job_id != yours.job_id


def test_a_full_queue_refuses(client: redis.Redis, request_: Request) -> None:
    store = JobStore(client, Limits(queue_cap=2))
    first = store.submit(request_).job_id
    store.submit(replace(request_, model="other"))
    with pytest.raises(QueueFull):
        store.submit(request_)
    store.cancel(first)
    assert store.submit(request_).created


def test_no_bound_on_the_queue_takes_any_job_and_a_bound_of_one_takes_one(
    client: redis.Redis, request_: Request
) -> None:
    assert all(JobStore(client, Limits(queue_cap=0)).submit(request_).created for _ in range(3))
    with pytest.raises(QueueFull):
        JobStore(client, Limits(queue_cap=1)).submit(request_)


def test_limits_that_nobody_named_are_the_services() -> None:
    settings = Settings()
    assert Limits() == Limits(settings.max_queued, settings.record_ttl)


def test_jobs_without_a_key_are_each_another(store: JobStore, request_: Request, client: redis.Redis) -> None:
    assert len({store.submit(request_).job_id for _ in range(2)}) == 2
    assert not client.keys("*:idempotency:*")
    assert not client.keys("*:batch:*")


def test_a_known_key_is_answered_even_when_the_queue_is_full(client: redis.Redis, request_: Request) -> None:
    store, keyed = JobStore(client, Limits(queue_cap=1)), replace(request_, idempotency_key="k")
    assert store.submit(keyed).job_id == store.submit(keyed).job_id


def test_an_owner_has_a_quota_of_open_jobs(store: JobStore, request_: Request) -> None:
    request_ = replace(request_, open_cap=1)
    first = store.submit(request_).job_id
    with pytest.raises(OverQuota):
        store.submit(request_)
    assert store.submit(replace(request_, owner="other")).created
    store.cancel(first)
    assert store.submit(request_).created


def test_an_id_is_made_of_144_random_bits() -> None:
    first, second = new_id(), new_id()
    assert first != second
    assert len(urlsafe_b64decode(first)) * 8 == 144


def test_a_client_that_reads_text_is_refused() -> None:
    """Images are bytes."""
    with connect("redis://127.0.0.1:1?decode_responses=yes") as client, pytest.raises(AssertionError):
        JobStore(client)


def test_a_foreign_or_unknown_job_is_nobody(store: JobStore, request_: Request) -> None:
    job_id = store.submit(replace(request_, owner="me")).job_id
    assert store.job(job_id, owner="me") is not None
    assert store.job(job_id, owner="you") is None
    assert store.job("unknown") is None


def test_cancelling_ends_a_job_once(store: JobStore, request_: Request) -> None:
    job_id = store.submit(request_).job_id
    assert [store.cancel(job_id), store.cancel(job_id), store.cancel("unknown")] == [
        "cancelled",
        "ended",
        "unknown",
    ]
    job = store.job(job_id)
    assert job is not None
    assert (job.status, job.queue_position, job.certificate) == ("cancelled", None, None)
    assert job.finished_at is not None


def test_pages_run_from_the_newest_job_to_the_oldest(store: JobStore, request_: Request) -> None:
    ids = [store.submit(request_).job_id for _ in range(7)]
    store.submit(replace(request_, owner="other"))
    found, cursor = [], None
    for _ in range(3):
        page = store.page(cursor=cursor, limit=3)
        found += [job.id for job in page.jobs]
        cursor = page.cursor
    assert found == ids[::-1]
    assert cursor is None


def test_every_key_expires(store: JobStore, request_: Request, client: redis.Redis) -> None:
    store.submit(replace(request_, idempotency_key="k"))
    lasting = {f"{store.root}:{name}".encode() for name in ("metrics", "queues")}  # they don't grow
    keys = set(client.keys()) - lasting
    assert len(keys) == 7
    day = 24 * 60 * 60
    assert all(day - 20 < client.ttl(key) <= day for key in keys)


def test_a_dead_broker_is_named(request_: Request) -> None:
    with connect("redis://127.0.0.1:1") as nobody:
        with pytest.raises(BrokerUnavailable):
            JobStore(nobody).submit(request_)
        with pytest.raises(BrokerUnavailable):
            JobStore(nobody).ping()


def test_a_message_to_a_dead_broker_fails_at_once() -> None:
    publisher = TaskPublisher("redis://127.0.0.1:1")
    start = time.monotonic()
    with pytest.raises(BrokerUnavailable):
        publisher.send(Message("id", "certify.m", 1))
    assert time.monotonic() - start < 3


def test_a_message_goes_to_its_queue(redis_url: str, client: redis.Redis) -> None:
    publisher = TaskPublisher(redis_url)
    publisher.send(Message("id", "certify.m", 1))
    assert client.llen("certify.m") == 1
    publisher.close()


def test_a_full_broker_is_named(store: JobStore, request_: Request, client: redis.Redis) -> None:
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(BrokerUnavailable, match="memory"):
            store.submit(request_)
    finally:
        client.config_set("maxmemory", 0)


MOST = 3
STEP = WINDOW // MOST  # seconds until one request is refilled


@pytest.fixture
def rates(store: JobStore) -> RateLimit:
    return RateLimit(store.scripts)


def later(client: redis.Redis, seconds: int) -> None:
    """As if so many seconds had passed for caller c: what is kept is when the quota will be full."""
    full = int(client.get("{smoothcert}:rate:c") or 0)
    client.set("{smoothcert}:rate:c", full - seconds * 1_000_000, keepttl=True)


def spend(rates: RateLimit, times: int) -> list[Allowance]:
    return [rates.spend("c", MOST) for _ in range(times)]


def test_a_quota_is_taken_at_once_and_not_one_request_more(rates: RateLimit) -> None:
    assert spend(rates, MOST) == [
        Allowance(taken=True, remaining=2, full_in=STEP, retry_in=0),
        Allowance(taken=True, remaining=1, full_in=2 * STEP, retry_in=0),
        Allowance(taken=True, remaining=0, full_in=3 * STEP, retry_in=STEP),
    ]
    assert spend(rates, 1) == [Allowance(taken=False, remaining=0, full_in=WINDOW, retry_in=STEP)]


def test_callers_do_not_spend_each_others_quota(rates: RateLimit) -> None:
    spend(rates, MOST + 1)
    assert rates.spend("another", MOST).taken


def test_a_quota_comes_back_request_by_request(rates: RateLimit, client: redis.Redis) -> None:
    spend(rates, MOST)
    later(client, STEP)
    assert [one.taken for one in spend(rates, 2)] == [True, False]
    later(client, WINDOW)
    assert [one.taken for one in spend(rates, MOST + 1)] == [True, True, True, False]


def test_asking_too_often_puts_the_next_request_off_no_further(rates: RateLimit, client: redis.Redis) -> None:
    assert {one.retry_in for one in spend(rates, MOST + 5)[MOST:]} == {STEP}
    later(client, STEP)
    assert spend(rates, 1)[0].taken


def test_who_was_away_for_long_has_one_quota_and_not_more(rates: RateLimit, client: redis.Redis) -> None:
    spend(rates, 1)
    later(client, 10 * WINDOW)
    assert [one.remaining for one in spend(rates, MOST)] == [2, 1, 0]


def test_a_clock_set_back_costs_no_caller_more_than_one_window(rates: RateLimit, client: redis.Redis) -> None:
    spend(rates, 1)
    later(client, -86_400)
    assert spend(rates, 1) == [Allowance(taken=False, remaining=0, full_in=WINDOW, retry_in=STEP)]


def test_what_is_kept_of_a_caller_goes_when_the_quota_is_full_again(
    rates: RateLimit, client: redis.Redis
) -> None:
    spend(rates, 1)
    assert STEP <= client.pttl("{smoothcert}:rate:c") / 1000 <= STEP + 1
    spend(rates, MOST)
    assert WINDOW - 5 <= client.pttl("{smoothcert}:rate:c") / 1000 <= WINDOW + 1


def test_a_quota_of_one_lets_one_through(rates: RateLimit) -> None:
    assert [rates.spend("c", 1).taken for _ in range(2)] == [True, False]
