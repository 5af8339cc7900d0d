"""Progress of long calls: bars and lines on stderr, and a warning when steps become slow."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

EVERY = 30.0  # seconds between lines
SOON = 10.0  # seconds after the last line from which a milestone gets one
WINDOW = 30.0  # seconds of one measurement of StepTimer
SLOWER = 2.0  # times the fastest window, from which on steps count as slow


class Update(Protocol):
    """Receives the work done, the total and a text. milestone: for example the end of an epoch."""

    def __call__(self, done: float, total: float, text: str, *, milestone: bool = False) -> None: ...


@contextmanager
def progress_bar(what: str, *, shown: bool = True) -> Iterator[Update]:
    """A progress bar with the time left, or lines if stderr is no terminal. Yields the update function."""
    if not shown:
        yield lambda done, total, text, milestone=False: None
        return
    if not sys.stderr.isatty():
        yield Lines(what)
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[text]}"), console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=None, text="")
        yield lambda done, total, text, milestone=False: progress.update(
            task, completed=done, total=total, text=text
        )


class Lines:
    """Writes a line every EVERY seconds, and at milestones at least SOON seconds apart."""

    def __init__(self, what: str, every: float = EVERY, soon: float = SOON) -> None:
        self._what, self._every, self._soon = what, every, soon
        self._began: tuple[float, float] | None = None  # when, and how much was done already
        self._last = time.monotonic()

    def __call__(self, done: float, total: float, text: str, *, milestone: bool = False) -> None:
        """Write a line if it is due."""
        now = time.monotonic()
        if self._began is None:
            self._began = now, done
        if now - self._last >= (self._soon if milestone else self._every):
            self._last = now
            began, before = self._began
            left = duration((now - began) / (done - before) * (total - done)) if done > before else "unknown"
            line = f"{self._what}: {done:.0f} of {total:.0f}, time left {left}, {text}".rstrip(", ")
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


def duration(seconds: float) -> str:
    """For example `2 h 05 min`, `3 min 20 s`, `12 s`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 60} min {whole % 60:02} s" if whole >= 60 else f"{whole} s"


class StepTimer:
    """Measures seconds per step in windows, to notice when other processes use the processors."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._steps = 0
        self._fastest = float("inf")
        self._reported = False

    def step(self, now: float) -> str | None:
        """Count a step; returns a warning each time that steps become slow."""
        if self._began is None:
            self._began = now
            return None
        self._steps += 1
        if now - self._began < WINDOW:
            return None
        seconds = (now - self._began) / self._steps
        self._began, self._steps = now, 0
        self._fastest = min(seconds, self._fastest)
        slow = seconds > SLOWER * self._fastest
        reported, self._reported = self._reported, slow
        return _slower(seconds, self._fastest) if slow and not reported else None


def _slower(seconds: float, fastest: float) -> str:
    load = f", load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors" if os.name == "posix" else ""
    return (
        f"a step takes {1e3 * seconds:.3g} ms, {seconds / fastest:.1f} times as long as before{load}: "
        "unless the method does more now, other programs take the processors"
    )
