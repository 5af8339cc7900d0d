"""Whatever a broker refuses is said as such: callers get a 503 and a reason, not an error of ours."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from smoothcert.cli.processes import Broker
from smoothcert.errors import BrokerUnavailable
from smoothcert.jobs.broker import connect
from smoothcert.jobs.scripts import Scripts
from smoothcert.jobs.store import JobStore, Limits, Request


@pytest.fixture
def own(tmp_path: Path) -> Iterator[redis.Redis]:
    """A server of its own, which may be put into a state that others would mind."""
    with Broker.start(tmp_path) as broker, connect(broker.url) as client:
        yield client


def test_a_replica_that_a_failover_left_behind_is_named(own: redis.Redis, request_: Request) -> None:
    own.replicaof("127.0.0.1", "1")
    with pytest.raises(BrokerUnavailable, match="read only replica"):
        JobStore(own).submit(request_)
    own.config_set("replica-serve-stale-data", "no")
    with pytest.raises(BrokerUnavailable, match="MASTER is down"):
        JobStore(own).image("any")


def test_a_broker_that_lost_its_replicas_is_named(own: redis.Redis, request_: Request) -> None:
    own.config_set("min-replicas-to-write", 1)
    with pytest.raises(BrokerUnavailable, match="Not enough good replicas"):
        JobStore(own).submit(request_)


def test_a_broker_that_is_busy_is_named(own: redis.Redis) -> None:
    own.config_set("busy-reply-threshold", 1)
    looping = connect(f"redis://127.0.0.1:{own.get_connection_kwargs()['port']}", retries=0, timeout=0.05)
    with pytest.raises(redis.exceptions.TimeoutError):
        looping.eval("while true do end", 0)
    with pytest.raises(BrokerUnavailable, match="BUSY"):
        JobStore(own).ping()
    own.script_kill()
    looping.close()


def test_rights_that_are_missing_are_named(own: redis.Redis, request_: Request) -> None:
    own.acl_setuser("limited", enabled=True, nopass=True, keys=["other*"], commands=["+@all"])
    with connect(f"redis://limited@127.0.0.1:{own.get_connection_kwargs()['port']}") as limited:
        with pytest.raises(BrokerUnavailable, match="permission"):
            JobStore(limited).submit(request_)
        with pytest.raises(BrokerUnavailable, match="permission"):
            JobStore(limited).image("any")


def test_a_broker_that_was_silent_is_asked_again_at_once_where_nobody_named_a_pause(
    redis_url: str, client: redis.Redis
) -> None:
    with connect(redis_url, retries=0, timeout=0.2) as hasty:
        for scripts in (Scripts(hasty), JobStore(hasty).scripts):
            assert scripts.run("cancel", id="unknown", ttl=1) == -1
            client.client_pause(10_000, all=False)
            try:
                with pytest.raises(BrokerUnavailable):
                    scripts.run("cancel", id="unknown", ttl=1)
            finally:
                client.client_unpause()
            assert scripts.run("cancel", id="unknown", ttl=1) == -1


def test_an_error_of_ours_is_not_laid_at_the_brokers_door(client: redis.Redis) -> None:
    with pytest.raises(redis.ResponseError):
        Scripts(client).run("submit")


def test_a_silent_broker_is_left_alone_for_a_while_and_asked_again_then(
    redis_url: str, client: redis.Redis
) -> None:
    """Many callers must not wait for it one after the other."""
    with connect(redis_url, retries=0, timeout=0.5) as hasty:
        store = JobStore(hasty, Limits(pause=1.0))
        assert store.workers() == []
        client.client_pause(800)
        with pytest.raises(BrokerUnavailable):
            store.workers()
        start = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            store.workers()
        assert time.monotonic() - start < 0.4
        time.sleep(1.1)
        assert store.workers() == []
