"""What the commands print: results on stdout, progress on stderr and only for a person."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from smoothcert.errors import InvalidRequest
from smoothcert.files import try_writing, write_whole


def show(text: str) -> None:
    """A result, on stdout."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """What is going on, on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def show_json(document: Any) -> None:
    """One JSON document, on stdout."""
    show(json.dumps(document, indent=2))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join(_line(cells, widths) for cells in (header, *rows))


def show_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The same on stdout as rich draws it: ruled on a terminal, in full where the terminal is narrow."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, title in enumerate(header):
        drawn.add_column(title, justify="right" if index else "left", no_wrap=True)
    for cells in rows:
        drawn.add_row(*cells)
    widest = sum(map(len, header)) + max((sum(map(len, cells)) for cells in rows), default=0)
    console = Console(markup=False, highlight=False)
    console.width = max(console.width, widest + 4 * len(header))
    console.print(drawn)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]).rstrip()


def check_out(path: Path | None, option: str = "--out", *, folder: bool = False) -> None:
    """Raises InvalidRequest where the file (or folder) that an option names could not be written: before
    the work that it is for."""
    if path is None:
        return
    try:
        try_writing(path, folder=folder)
    except OSError as error:
        raise InvalidRequest(f"{option} {path} can't be written: {error.strerror}.") from error


def write_file(path: Path, content: str, option: str) -> None:
    """Write a file the user named, whole or not at all. Raises InvalidRequest."""
    try:
        write_whole(path, content.encode())
    except OSError as error:
        raise InvalidRequest(f"{option} {path} can't be written: {error.strerror}.") from error


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
