"""How many may follow jobs at once: each has a connection and looks at the store up to 50 times a second."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import Unavailable


class Seats:
    """Counted in the event loop, so without a lock. most: waits and event streams of this process."""

    def __init__(self, most: int) -> None:
        self.free = most

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
