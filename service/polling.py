"""How clients that wait for a job read its record: how often, and how many of them at once.

Polling is chosen over pub/sub: it holds no connection for each waiter, it can't lose a notice when the broker
restarts, and it costs next to nothing.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.errors import Unavailable

POLL_LEAST, POLL_MOST = 0.01, 0.25  # seconds between looks at a record
POLL_SHARE = 0.02  # of the time waited so far: that much later than it ends is a job seen to end, at most
POLL_EACH = 0.004  # seconds a waiter: however many there are, their looks don't keep the service busy


def poll_intervals(
    timeout: float, waiters: Callable[[], int] = lambda: 1, due: Callable[[], float | None] = lambda: None
) -> Iterator[float]:
    """How long to sleep between looks, until `timeout` seconds are over. `waiters`: who look at this moment.

    due: when the job should end (`time.monotonic`), where that can be told: looks are as far apart as half
    the time to or since then, else as a share of the time waited.
    """
    start = time.monotonic()
    while (waited := (now := time.monotonic()) - start) < timeout:
        end = due()
        wish = POLL_SHARE * waited if end is None else abs(end - now) / 2
        alone = min(max(wish, POLL_LEAST), POLL_MOST)
        yield min(max(alone, POLL_EACH * waiters()), timeout - waited)


class ConcurrencyLimit:
    """Counted in the event loop, so without a lock. most: waits and event streams of this process."""

    def __init__(self, most: int) -> None:
        self.most = self.free = most

    @property
    def taken(self) -> int:
        return self.most - self.free

    @contextmanager
    def take(self) -> Iterator[None]:
        """One seat while the context lasts. Raises Unavailable."""
        if not self.free:
            raise Unavailable("Too many follow their jobs at the moment: poll, or try again shortly.")
        self.free -= 1
        try:
            yield
        finally:
            self.free += 1
