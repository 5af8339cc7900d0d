"""What every test may ask for: a real Valkey, with a fresh database for each test."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import hypothesis
import pytest
import redis

from smoothcert.broker import Broker

# The same examples in every run, however slow the machine is.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True)
hypothesis.settings.load_profile("suite")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `gpu` are skipped where there is none; torch is only loaded to find out."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")


_DATABASES = 64
_next_database = count()


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One real server for the session; it dies with the test run even when that is killed."""
    folder: Path = tmp_path_factory.mktemp("valkey")
    with Broker.start(folder, "--databases", str(_DATABASES), "--appendfsync", "no") as broker:
        yield broker


def fresh_database(valkey: Broker) -> str:
    """The URL of an empty database that no other running test uses."""
    url = f"{valkey.url.removesuffix('/0')}/{next(_next_database) % _DATABASES}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
def redis_url(valkey: Broker) -> str:
    """A fresh database."""
    return fresh_database(valkey)
