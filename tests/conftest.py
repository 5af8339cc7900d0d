"""What every test may ask for: a real Valkey, with a fresh database for each. What was skipped is told."""

import os
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from itertools import count
from pathlib import Path

import hypothesis
import pytest
import redis

from smoothcert.cli.processes import Broker

# Tools, named as in the reasons of skips, without which a test fails instead; .ci/run sets it.
REQUIRED = os.environ.get("REQUIRED_TOOLS", "").split()

# As smoothcert.engines.openvino_cpu does, for tests that import openvino before it: otherwise each conversion
# of a model starts a process that sends telemetry.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

# The same examples in every run, however slow the machine is.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True)
hypothesis.settings.load_profile("suite")


# Tests that take longest, by folder or file: they start first, so that no process idles at the end.
FIRST = (
    "tests/cli/test_environments.py",
    "tests/cli/test_up.py",
    "tests/acceptance",
    "tests/faults",
    "tests/worker",
    "tests/cli",
    "tests/engines",
    "tests/training",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones first; otherwise the order that pytest found."""

    def place(item: pytest.Item) -> int:
        matching = (i for i, start in enumerate(FIRST) if item.nodeid.startswith(start))
        return next(matching, len(FIRST))

    items.sort(key=place)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `gpu` are skipped where there is none; torch is only loaded to find out."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that is skipped for want of a tool that must be there has failed."""
    report = yield
    if report.skipped and any(tool in (reason := _reason(report)) for tool in REQUIRED):
        report.outcome, report.longrepr = (
            "failed",
            f"{item.nodeid} would be skipped, but it must run: {reason}",
        )
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None]:
    """How many tests were skipped for want of what: the last words before pytest's own closing line."""
    yield
    skipped = Counter(map(_reason, terminalreporter.stats.get("skipped", [])))
    if skipped:
        terminalreporter.section("skipped, by reason")
    for reason, times in skipped.most_common():
        terminalreporter.line(f"{times:4d} {reason}")


def _reason(report: pytest.TestReport) -> str:
    """Why a test was skipped."""
    where = report.longrepr
    return (where[2] if isinstance(where, tuple) else str(where)).removeprefix("Skipped: ")


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
