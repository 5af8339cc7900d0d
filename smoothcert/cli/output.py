"""What the commands print: results on stdout, progress on stderr and only for a person."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
