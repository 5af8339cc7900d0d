"""Polling of a job's record for waiting clients: the intervals, and a limit on the number of clients.

Polling instead of pub/sub: it needs no connection per client, can't lose a notification when the broker
restarts, and costs little.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.errors import Unavailable

POLL_LEAST, POLL_MOST = 0.01, 0.25  # seconds between two polls
POLL_SHARE = 0.02  # of the time waited so far; bounds the delay until a job's end is noticed
POLL_EACH = 0.004  # seconds per waiting client; bounds the rate of all polls together


def poll_intervals(
    timeout: float, waiters: Callable[[], int] = lambda: 1, due: Callable[[], float | None] = lambda: None
) -> Iterator[float]:
    """Seconds to sleep between polls, until `timeout` seconds are over. waiters: the number of clients now.

    due: the estimated end of the job (`time.monotonic`), or None. With an estimate, the interval is half the
    time to or since it; without one, a share of the time waited.
    """
    start = time.monotonic()
    while (waited := (now := time.monotonic()) - start) < timeout:
        end = due()
        wanted = POLL_SHARE * waited if end is None else abs(end - now) / 2
        interval = min(max(wanted, POLL_LEAST), POLL_MOST)
        yield min(max(interval, POLL_EACH * waiters()), timeout - waited)


class ConcurrencyLimit:
    """At most `most` waits and event streams in this process. For the event loop only, so it has no lock."""

    def __init__(self, most: int) -> None:
        self.most = self.free = most

    @property
    def taken(self) -> int:
        return self.most - self.free

    @contextmanager
    def take(self) -> Iterator[None]:
        """Holds one slot while the context lasts. Raises Unavailable."""
        if not self.free:
            raise Unavailable("Too many follow their jobs at the moment: poll, or try again shortly.")
        self.free -= 1
        try:
            yield
        finally:
            self.free += 1
