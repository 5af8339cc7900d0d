"""How often a caller may ask: never more than the quota in a window, and again as it refills."""

import pytest
import redis

from smoothcert.jobs.rate_limit import WINDOW, Allowance, RateLimit
from smoothcert.jobs.store import JobStore

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
