import threading
import time

import pytest
import redis
from structlog.testing import capture_logs

from smoothcert.images.pixels import CertifiedImage
from smoothcert.jobs.broker import connect
from smoothcert.jobs.jobs import JobStore, Request
from smoothcert.jobs.leases import Claim, Leases, Terms
from smoothcert.schemas.parameters import Parameters
from worker.keeper import UNACKED_INDEX, Keeper, Message

LEASE = 0.3  # seconds


def keeper(leases: Leases, claim: Claim, message: Message, stall: float = 60) -> Keeper:
    return Keeper(lambda: leases.renew(claim), message, LEASE, stall)


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    return connect(redis_url)


@pytest.fixture
def leases(client: redis.Redis) -> Leases:
    return Leases(client, Terms(lease=LEASE))


@pytest.fixture
def claim(client: redis.Redis, leases: Leases) -> Claim:
    image = CertifiedImage.of(bytes(4), (1, 2, 2), [])
    job_id = JobStore(client).submit(Request("m", Parameters(sigma=0.5), image)).job_id
    claim = leases.claim(job_id, "w1", "x")
    assert isinstance(claim, Claim)
    return claim


def test_a_lease_and_its_message_are_kept_while_their_holder_is_busy(
    client: redis.Redis, leases: Leases, claim: Claim
) -> None:
    client.zadd(UNACKED_INDEX, {"tag": 1.0})
    with keeper(leases, claim, Message(client, "tag")) as kept:
        time.sleep(2 * LEASE)
        assert leases.claim(claim.job_id, "w2", "x") == "busy"
        assert not kept.lost
    assert client.zscore(UNACKED_INDEX, "tag") == pytest.approx(time.time(), abs=LEASE)


def test_a_message_acknowledged_meanwhile_stays_acknowledged(client: redis.Redis) -> None:
    Message(client, "tag").renew()
    assert client.zcard(UNACKED_INDEX) == 0


def test_a_holder_that_hangs_loses_its_job(client: redis.Redis, leases: Leases, claim: Claim) -> None:
    with capture_logs() as logs, keeper(leases, claim, Message(client, None), stall=0.01):
        time.sleep(2 * LEASE)
        assert isinstance(leases.claim(claim.job_id, "w2", "x"), Claim)
    assert [line["event"] for line in logs] == ["stalled"], "or nobody would know why"


def test_a_renewal_that_failed_is_tried_again(client: redis.Redis, leases: Leases, claim: Claim) -> None:
    with capture_logs() as logs, keeper(leases, claim, Message(client, None)) as kept:
        client.config_set("min-replicas-to-write", 1)
        time.sleep(LEASE / 2)
        client.config_set("min-replicas-to-write", 0)
        time.sleep(LEASE)
        assert leases.claim(claim.job_id, "w2", "x") == "busy"
        assert not kept.lost
    assert logs[0]["event"] == "renewal failed"
    assert logs[0]["error"], "the log says what the broker said"


def test_a_lease_is_renewed_early_enough_to_try_twice(client: redis.Redis) -> None:
    tries: list[float] = []
    with Keeper(lambda: tries.append(time.monotonic()), Message(client, None), 2 * LEASE, stall=60):
        time.sleep(0.9 * 2 * LEASE)
    assert len(tries) >= 2, "one renewal that fails costs no job"


def test_nothing_is_renewed_once_the_work_is_over(client: redis.Redis) -> None:
    begun, ended = threading.Event(), threading.Event()

    def renew() -> None:
        begun.set()
        time.sleep(LEASE / 3)
        ended.set()

    with Keeper(renew, Message(client, None), LEASE, stall=60):
        assert begun.wait(10)
    assert ended.is_set(), "a renewal under way would meet whatever comes next"


def test_a_holder_that_gets_on_is_not_taken_for_one_that_hangs(
    client: redis.Redis, leases: Leases, claim: Claim
) -> None:
    with keeper(leases, claim, Message(client, None), stall=LEASE) as kept:
        for _ in range(8):
            time.sleep(LEASE / 4)
            kept.note()
        assert leases.claim(claim.job_id, "w2", "x") == "busy"


def test_a_holder_learns_that_its_job_is_lost(client: redis.Redis, leases: Leases, claim: Claim) -> None:
    with keeper(leases, claim, Message(client, None)) as kept:
        JobStore(client).cancel(claim.job_id)
        time.sleep(LEASE)
        assert kept.lost
