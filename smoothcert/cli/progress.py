"""How far a command has come, on stderr: a bar for a person who looks at it, else a line now and then."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from smoothcert.cli.output import note

EVERY = 30.0  # seconds between two lines
SOON = 10.0  # seconds after which a milestone gets its line


class Update(Protocol):
    """Told how much is done, of how much, and what to say of it; milestone: an epoch's end and the like."""

    def __call__(self, done: float, total: float, text: str, *, milestone: bool = False) -> None: ...


@contextmanager
def progress_bar(what: str, *, shown: bool = True) -> Iterator[Update]:
    """A bar with the time left; the function it yields moves it. Off a terminal lines say the same."""
    if not shown:
        yield lambda done, total, text, milestone=False: None
        return
    if not sys.stderr.isatty():
        yield Lines(what)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[said]}"), console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=None, said="")
        yield lambda done, total, text, milestone=False: progress.update(
            task, completed=done, total=total, said=text
        )


class Lines:
    """Writes a line every half minute, and at milestones that don't follow each other too fast."""

    def __init__(self, what: str, every: float = EVERY, soon: float = SOON) -> None:
        self._what, self._every, self._soon = what, every, soon
        self._began: tuple[float, float] | None = None  # when, and how much was done already
        self._last = time.monotonic()

    def __call__(self, done: float, total: float, text: str, *, milestone: bool = False) -> None:
        """Say it, if it is time."""
        now = time.monotonic()
        if self._began is None:
            self._began = now, done
        if now - self._last >= (self._soon if milestone else self._every):
            self._last = now
            began, before = self._began
            left = duration((now - began) / (done - before) * (total - done)) if done > before else "unknown"
            note(f"{self._what}: {done:.0f} of {total:.0f}, time left {left}, {text}".rstrip(", "))


def duration(seconds: float) -> str:
    """To two units: `2 h 05 min`, `3 min 20 s`, `12 s`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 60} min {whole % 60:02} s" if whole >= 60 else f"{whole} s"
