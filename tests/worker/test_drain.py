"""A worker that is told to stop: its child hears of it, and nothing outlasts the time it was given."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.worker.plant import eventually
from worker import drain

WITHIN = 0.2  # seconds


@pytest.fixture
def killed() -> Iterator[list[float]]:
    """When this process would have been ended; it goes on afterwards. Waits until then."""
    times: list[float] = []
    before = signal.signal(signal.SIGQUIT, lambda *_: times.append(time.monotonic()))
    yield times
    eventually(lambda: times)
    drain._flag[0] = 0
    signal.signal(signal.SIGQUIT, before)


def test_a_child_that_was_forked_before_hears_that_it_is_to_stop(killed: list[float]) -> None:
    assert not drain.draining()
    child = os.fork()
    if not child:
        deadline = time.monotonic() + 5
        while not drain.draining() and time.monotonic() < deadline:
            time.sleep(0.01)
        os._exit(0 if drain.draining() else 1)
    drain.start(WITHIN)
    assert os.waitpid(child, 0)[1] == 0
    assert drain.draining()


def test_what_still_runs_when_the_time_is_over_is_ended_and_not_before(killed: list[float]) -> None:
    started = time.monotonic()
    drain.start(WITHIN)
    eventually(lambda: killed)
    (ended,) = killed
    assert ended - started >= WITHIN


def test_a_worker_that_is_done_does_not_wait_for_its_time_to_be_over() -> None:
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", "from worker import drain; drain.start(60)"], check=True)
    assert time.monotonic() - started < 30
