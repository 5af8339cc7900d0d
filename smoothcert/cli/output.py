"""Output of the commands: results on stdout, progress and notes on stderr. Printed radii are rounded down."""

import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smoothcert.errors import InvalidRequest
from smoothcert.files import shown, try_writing, write_whole
from smoothcert.notebook import rounded_down as to_digits
from smoothcert.schemas.certificate import Certificate
from smoothcert.schemas.job import Progress
from smoothcert.stats.recompute import asked_in_words


def show(text: str) -> None:
    """Print a result on stdout."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Print a note on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def show_json(document: Any) -> None:
    """Print a JSON document on stdout."""
    show(json.dumps(document, indent=2))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as text: the first column left-aligned, the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join(_line(cells, widths) for cells in (header, *rows))


def show_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout with rich, never cut off by a narrow terminal."""
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
    """Raises InvalidRequest if the output file or folder of an option can't be written.

    Call it before the work.
    """
    if path is None:
        return
    try:
        try_writing(path, folder=folder)
    except OSError as error:
        raise InvalidRequest(f"{option} {path} can't be written: {error.strerror}.") from error


def write_file(path: Path, content: str, option: str) -> None:
    """Write the output file of an option atomically. Raises InvalidRequest."""
    try:
        write_whole(path, content.encode())
    except OSError as error:
        raise InvalidRequest(f"{option} {path} can't be written: {error.strerror}.") from error


Certified = tuple[Path, Certificate]  # an image file and its certificate
COLUMNS = ("image", "outcome", "class", "label", "radius", "n", "alpha", "sigma", "model")


def describe(certificate: Certificate) -> str:
    """One certificate in a few lines."""
    c = certificate
    drawn = f"{c.n} votes at sigma {c.sigma:g}, error probability at most {c.alpha}"
    votes = sorted(((count, k) for k, count in enumerate(c.counts) if count), reverse=True)[:3]
    counted = ", ".join(f"class {k}: {count}" for count, k in votes)
    lines = [_answer(c), *_examples(c), f"{c.model.name}, {c.procedure}: {drawn} ({counted})"]
    lines += [f"the image was {', '.join(c.input.preprocessing)}"] * bool(c.input.preprocessing)
    if c.ended_by is not None:
        lines.append(f"the deadline of {c.deadline:g} s ended it: {c.drawn} votes were drawn")
    lines += asked_in_words(c.asked_before, c.alpha) if c.asked_before else []
    if c.target_met is not None:
        lines.append(f"target radius {c.target_radius}: {'proved' if c.target_met else 'not proved'}")
    return "\n".join(lines)


def as_table(certified: Sequence[Certified]) -> str:
    """An aligned table, one line per image."""
    return table(COLUMNS, [_row(path, certificate) for path, certificate in certified])


def as_tsv(certified: Sequence[Certified]) -> str:
    """TSV with a header, one line per image."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_row(path, certificate) for path, certificate in certified)
    return text.getvalue()


def to_json(certified: Sequence[Certified]) -> str:
    """A JSON list of {image, certificate}."""
    return json.dumps(
        [{"image": shown(path), "certificate": c.model_dump(mode="json")} for path, c in certified], indent=2
    )


def as_document(certificate: Certificate) -> str:
    """One certificate as ASCII JSON."""
    return json.dumps(certificate.model_dump(mode="json"), indent=2)


def _row(path: Path, c: Certificate) -> list[str]:
    winner = "-" if c.predicted_class is None else str(c.predicted_class)
    figures = [rounded_down(c.radius), str(c.n), str(c.alpha), f"{c.sigma:g}"]
    return [shown(path), c.outcome, winner, c.label or "-", *figures, c.model.name]


def _answer(c: Certificate) -> str:
    if c.outcome == "abstained":
        return "abstained: no class is proved at this error probability"
    named = f"class {c.predicted_class}" + (f" ({c.label})" if c.label != str(c.predicted_class) else "")
    if c.procedure == "predict":
        return f"{named}, without a radius"
    return f"{named}, certified within l2 radius {rounded_down(c.radius)} (pixels in [0,1])"


def _examples(c: Certificate) -> list[str]:
    """What the radius covers, in levels of 255 and in pixels."""
    implied, covered = c.implied, []
    if implied and implied.linf_levels:
        covered.append(f"a shift of every value by up to {_plural(implied.linf_levels, 'level')} of 255")
    if implied and implied.pixels:
        covered.append(f"any change of up to {_plural(implied.pixels, 'pixel')}")
    return [f"that covers {', and '.join(covered)}"] if covered else []


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" + "s" * (count > 1)


def so_far(progress: Progress) -> str:
    """The text of the progress bar."""
    proved = f"radius {rounded_down(progress.radius or 0.0)} so far"
    return f"{proved}; forecast: {progress.forecast.in_words}" if progress.forecast else proved


def rounded_down(radius: float) -> str:
    """The radius rounded down to four decimals."""
    return to_digits(radius, 4)
