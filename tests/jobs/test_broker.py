"""Addresses as people write them, and each thing that can be wrong with a broker in a line of its own."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from smoothcert.cli.processes import Broker, await_answer, free_port
from smoothcert.errors import BrokerUnavailable
from smoothcert.jobs.broker import (
    BadBroker,
    broker_url,
    celery_url,
    connect,
    evicts,
    unavailable,
)
from smoothcert.jobs.keys import queue_of
from smoothcert.jobs.store import JobStore
from smoothcert.jobs.tasks import Message, TaskPublisher
from tests.security.tls import tls_before


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Broker]:
    """A server of its own, with a socket in the file system."""
    with Broker.start(tmp_path, "--unixsocket", str(tmp_path / "broker.sock")) as broker:
        yield broker


def port_of(broker: Broker) -> int:
    port = urlsplit(broker.url).port
    assert port is not None
    return port


@pytest.mark.parametrize(
    ("written", "meant", "celerys"),
    [
        ("redis://localhost", "redis://localhost", None),
        (" redis://u:p%23@h:1/3\n", "redis://u:p%23@h:1/3", None),
        ("redis://h:1/?db=3", "redis://h:1/3", None),
        ("redis://h:1?virtual_host=3", "redis://h:1/3", None),
        ("redis://[::1]:1/2", "redis://[::1]:1/2", None),
        ("rediss://h", "rediss://h?ssl_cert_reqs=required", None),
        ("rediss://h/1?ssl_cert_reqs=CERT_NONE", "rediss://h/1?ssl_cert_reqs=none", None),
        ("rediss://h?ssl_cert_reqs=Optional&ssl_check_hostname=False",
         "rediss://h?ssl_cert_reqs=optional&ssl_check_hostname=false", None),
        ("unix:///run/b.sock", "unix:///run/b.sock", "redis+socket:///run/b.sock?virtual_host=0"),
        ("unix://u:p@/run/b.sock?db=2", "unix://u:p@/run/b.sock?db=2", "redis+socket://u:p@/run/b.sock?virtual_host=2"),
        ("redis+socket:///b.sock?virtual_host=2", "unix:///b.sock?db=2", "redis+socket:///b.sock?virtual_host=2"),
    ],
)  # fmt: skip
def test_an_address_is_brought_to_one_form(written: str, meant: str, celerys: str | None) -> None:
    assert broker_url(written, None) == meant
    assert celery_url(meant) == (celerys or meant)
    connect(meant).close()


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("", "begins with nothing"),
        ("localhost:6379", "begins with localhost"),
        ("http://h", "begins with http"),
        ("sentinel://a:1,b:2/main", "begins with sentinel"),
        ("redis+cluster://h", r"begins with redis\+cluster"),
        ("redis://h:x/0", "can't be read"),
        ("redis://h:99999/0", "can't be read"),
        ("redis://h:0", "no single server"),
        ("redis://h:-1/0", "can't be read"),
        ("redis://[::1/0", "can't be read"),
        ("redis://:s/cret@h/0", "can't be read"),
        ("redis://:s#cret@h/0", "a # in it"),
        ("redis://a:1,b:2", "can't be read|no single server"),
        ("redis://h/main", "database is a number"),
        ("redis://h/1?db=2", "database is a number"),
        ("redis://h?db=x", "is a number"),
        ("redis://h?timeout=5", "no parameter 'timeout'; there are: db"),
        ("redis://h?ssl_cert_reqs=none", "for TLS write rediss"),
        ("rediss://h?ssl_ca_cert=x", "no parameter 'ssl_ca_cert'; there are: db, ssl_ca_certs"),
        ("rediss://h?ssl_cert_reqs=maybe", "is one of required, optional, none"),
        ("rediss://h?ssl_check_hostname=2", "one of true, false"),
        ("rediss://h?ssl_ca_certs=/no/such.pem", "/no/such.pem can't be read: No such file"),
        ("unix://run/b.sock", "three slashes"),
        ("unix://", "three slashes"),
        ("unix:///b.sock?ssl_cert_reqs=none", "no parameter"),
    ],
)
def test_another_address_is_refused_with_what_there_is_and_never_shown(written: str, complaint: str) -> None:
    with pytest.raises(BadBroker, match=complaint) as refused:
        broker_url(written, None)
    assert "cret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_records_and_messages_take_the_same_way_through_a_socket(own: Broker, tmp_path: Path) -> None:
    for written in ("unix://{}?db=3", "redis+socket://{}?virtual_host=3"):
        url = broker_url(written.format(tmp_path / "broker.sock"), None)
        with connect(url) as client, closing(TaskPublisher(url)) as publisher:
            publisher.send(Message("a", "certify.model", 1))
            assert JobStore(client).page().jobs == []
            assert client.llen(queue_of("model")) == 1
            with redis.Redis.from_url(f"{own.url[:-1]}3") as there:
                assert there.llen(queue_of("model")) == 1
            client.flushall()


@pytest.mark.parametrize(
    ("policy", "limit", "drops"),
    [
        ("noeviction", "100mb", False),
        ("allkeys-lru", "0", False),
        *[(policy, "100mb", True) for policy in ("allkeys-lru", "allkeys-lfu", "allkeys-random")],
        *[
            (policy, "100mb", True)
            for policy in ("volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl")
        ],
    ],
)
def test_a_broker_that_drops_jobs_when_it_is_full_is_known(
    own: Broker, policy: str, limit: str, drops: bool
) -> None:
    with connect(own.url) as client:
        client.config_set("maxmemory-policy", policy)
        client.config_set("maxmemory", limit)
        reason = evicts(client)
        assert bool(reason) == drops
        assert reason is None or policy in reason


def test_a_broker_that_does_not_tell_its_policy_is_taken_as_it_is(own: Broker) -> None:
    with connect(own.url) as client:
        client.acl_setuser("quiet", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-info"])
    with connect(own.url.replace("//", "//quiet@")) as quiet:
        assert evicts(quiet) is None


def why_not(url: str) -> str:
    """What the store says of a broker."""
    with connect(url, retries=0) as client, pytest.raises(BrokerUnavailable) as refused:
        JobStore(client).page()
    return str(refused.value)


def why(url: str) -> str:
    """What the store, and a command that waits for a broker, say of it."""
    said = [why_not(url)]
    with pytest.raises(BrokerUnavailable) as refused:
        await_answer(url, timeout=0.1)
    said.append(str(refused.value))
    assert said[0] == said[1]
    assert "\n" not in said[0]
    return said[0]


def test_what_is_wrong_with_a_connection_is_told_apart(own: Broker, tmp_path: Path) -> None:
    port = port_of(own)
    with connect(own.url) as admin:
        assert "no database of this number" in why(f"redis://127.0.0.1:{port}/99")
        assert "does not speak TLS" in why(f"rediss://127.0.0.1:{port}/0")
        with tls_before(port, tmp_path) as (tls, pem):
            assert "closes the connection" in why(f"redis://127.0.0.1:{tls}/0")
            assert "is not trusted" in why(f"rediss://127.0.0.1:{tls}/0")
            assert "for another name" in why(f"rediss://localhost:{tls}/0?ssl_ca_certs={pem}")
        admin.config_set("requirepass", "swordfish")
        assert "wants a password" in why(own.url)
        assert "refuses the user or the password" in why(own.url.replace("//", "//:trout@"))
        assert "refuses the user or the password" in why(own.url.replace("//", "//ann:swordfish@"))
    assert "Connection refused" in why(f"redis://127.0.0.1:{free_port()}/0")
    assert "Name or service not known" in why("redis://no-such-host.invalid/0")
    assert "No such file" in why(f"unix://{tmp_path / 'none.sock'}")


def test_a_replica_and_a_cluster_are_named(own: Broker, tmp_path: Path) -> None:
    with connect(own.url) as client:
        client.replicaof("127.0.0.1", "1")
        with pytest.raises(redis.RedisError) as refused:
            client.set("a", "b")
    assert "name the primary" in str(unavailable(refused.value))
    cluster = tmp_path / "cluster"
    options = "--cluster-enabled", "yes", "--cluster-port", str(free_port())
    with Broker.start(cluster, *options) as broker:
        said = why_not(broker.url)
    assert "part of a cluster" in said


def test_what_speaks_another_language_is_no_broker(tmp_path: Path) -> None:
    import http.server
    import threading

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            assert "or it is none" in why(f"redis://127.0.0.1:{server.server_address[1]}/0")
        finally:
            server.shutdown()
            thread.join()
