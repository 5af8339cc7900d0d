"""A progress bar on stderr, and only where a person looks at it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Update = Callable[[float, float, str], None]  # done, total, what to say


@contextmanager
def progress_bar(what: str, *, shown: bool = True) -> Iterator[Update]:
    """A bar with the time left; the function it yields moves it. Off a terminal it draws nothing."""
    if not (shown and sys.stderr.isatty()):
        yield lambda done, total, text: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[said]}"), console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=None, said="")
        yield lambda done, total, text: progress.update(task, completed=done, total=total, said=text)
