"""How many may follow jobs at once: each has a connection, and looks at the store again and again."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import Unavailable


class Seats:
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
