"""The broker's address: its password from a file, its certificate checked."""

from pathlib import Path

import pytest

from certification.contract.store.broker import ANSWER_TIMEOUT, CONNECT_TIMEOUT, broker_url, connect
from certification.errors import BadKeyFile


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(" p@ss:w/rd %?#\n")
    return path


@pytest.mark.parametrize(
    ("url", "full"),
    [
        ("redis://h:1/0", "redis://:p%40ss%3Aw%2Frd%20%25%3F%23@h:1/0"),
        ("redis://a%2Fb@h:1/0", "redis://a%2Fb:p%40ss%3Aw%2Frd%20%25%3F%23@h:1/0"),
        ("redis://u:old@h/2", "redis://u:p%40ss%3Aw%2Frd%20%25%3F%23@h/2"),
    ],
)
def test_the_password_comes_from_its_file_whatever_is_in_it(url: str, full: str, password: Path) -> None:
    assert broker_url(url, password) == full


@pytest.mark.parametrize(
    ("url", "full"),
    [
        ("redis://h:1/0", "redis://h:1/0"),
        ("rediss://h:1/0", "rediss://h:1/0?ssl_cert_reqs=required"),
        ("rediss://h:1/0?ssl_ca_certs=/c", "rediss://h:1/0?ssl_ca_certs=/c&ssl_cert_reqs=required"),
        ("rediss://h:1/0?ssl_cert_reqs=none", "rediss://h:1/0?ssl_cert_reqs=none"),
    ],
)
def test_a_servers_certificate_is_checked_unless_the_address_says_otherwise(url: str, full: str) -> None:
    assert broker_url(url, None) == full


def test_a_password_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadKeyFile, match=r"nowhere, the broker's password, can't be read: FileNotFoundError"):
        broker_url("redis://h", tmp_path / "nowhere")
    (tmp_path / "binary").write_bytes(b"\xff")
    with pytest.raises(BadKeyFile, match="UnicodeDecodeError"):
        broker_url("redis://h", tmp_path / "binary")


def test_nobody_waits_for_a_broker_longer_than_the_time_limits_say() -> None:
    with connect("redis://127.0.0.1:1") as client:
        chosen = client.get_connection_kwargs()
    assert (chosen["socket_connect_timeout"], chosen["socket_timeout"]) == (CONNECT_TIMEOUT, ANSWER_TIMEOUT)
    assert chosen["retry"].get_retries() == 1
