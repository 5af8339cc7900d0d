"""Options that several commands have, and the files that a command names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smoothcert.cli.output import note
from smoothcert.errors import InternalError, InvalidRequest, NotACertificate
from smoothcert.files import read_file, read_up_to
from smoothcert.schemas.parameters import DEFAULT_ALPHA, DEFAULT_N, DEFAULT_N0, Parameters, reason

if TYPE_CHECKING:
    from smoothcert.schemas.json_text import Document

N = Annotated[
    int | None, typer.Option("--n", help=f"Estimation votes.  [default: {DEFAULT_N}]", show_default=False)
]
N0 = Annotated[
    int | None, typer.Option("--n0", help=f"Selection votes.  [default: {DEFAULT_N0}]", show_default=False)
]
Alpha = Annotated[
    float | None,
    typer.Option("--alpha", help=f"Failure probability.  [default: {DEFAULT_ALPHA}]", show_default=False),
]
Procedure = Annotated[str | None, typer.Option(help="anytime, certify (fixed n, one-sided) or predict.")]
TargetRadius = Annotated[float | None, typer.Option(help="Stop once this radius is proved, or is hopeless.")]
Tolerance = Annotated[
    float | None, typer.Option(help="Stop once at most this share of the radius is missing.")
]
Deadline = Annotated[
    float | None, typer.Option(help="Seconds for an image, then the best certificate so far.")
]
Dataset = Annotated[str, typer.Option(help="A data set's name, or folder:PATH; they are listed below.")]
EngineOption = Annotated[
    str | None,
    typer.Option(help="The engine, as certificates and logs name it; else one is chosen."),
]


def given(**options: Any) -> dict[str, Any]:
    """The options that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def parameters(options: dict[str, Any], sigma: float) -> Parameters:
    """Parameters from options, with the model's sigma. Raises InvalidRequest naming the option."""
    from pydantic import ValidationError

    try:
        return Parameters.model_validate({**options, "sigma": sigma})
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).replace("_", "-")
        raise InvalidRequest(f"--{option} {first['input']}: {reason(first['msg'])}.") from error


SLICE = 100  # images in one request; a service accepts 256 and 100 MB by default
SLICE_BYTES = 50_000_000


def read_document(path: Path) -> bytes:
    """The bytes of a document. Raises InternalError: a directory; InvalidRequest: unreadable."""
    from smoothcert.schemas.json_text import MAX_BYTES

    if path.is_dir():
        raise InternalError(f"{path} is not a certificate: it is a directory.")
    return read_up_to(path, MAX_BYTES + 1)


def parse_json(path: Path, data: bytes) -> Document:
    """The document in these bytes. Raises InternalError: no JSON, naming the field."""
    from smoothcert.schemas.json_text import parse_document

    try:
        return parse_document(data)
    except NotACertificate as error:
        raise InternalError(f"{path} is not a certificate: {error}.") from error


def failures(documents: Sequence[Path], work: Callable[[Path], None]) -> list[Path]:
    """The documents whose work raised InternalError, each noted. The error of a single document passes."""
    failed = []
    for path in documents:
        try:
            work(path)
        except InternalError as error:
            if len(documents) == 1:
                raise
            note(f"smoothcert: {error}")
            failed.append(path)
    return failed


def expand(words: Sequence[str]) -> list[Path]:
    """The image files of these files, folders (searched recursively) and patterns, without duplicates.

    Raises InvalidRequest.
    """
    return list(dict.fromkeys(path for word in words for path in _files(word)))


def is_one_file(words: Sequence[str]) -> bool:
    """Whether the arguments name exactly one file, so that the result is one certificate, not a list."""
    return len(words) == 1 and not Path(words[0]).is_dir() and not _is_pattern(words[0])


def slices(paths: Sequence[Path]) -> Iterator[list[tuple[Path, bytes]]]:
    """Files with their bytes, in groups that a service accepts. Raises InvalidRequest."""
    part: list[tuple[Path, bytes]] = []
    size = 0
    for path in paths:
        data = read_file(path)
        if part and (len(part) == SLICE or size + len(data) > SLICE_BYTES):
            yield part
            part, size = [], 0
        part.append((path, data))
        size += len(data)
    yield part


def _files(word: str) -> list[Path]:
    from smoothcert.images.folders import LeftOut, pictures_below

    path = Path(word)
    if path.is_dir():
        left_out = LeftOut()
        found = sorted(pictures_below(path, left_out))
        if str(left_out):
            note(f"{path}: left out {left_out}")
    elif _is_pattern(word):
        found = sorted(p for p in Path(path.anchor).glob(word.removeprefix(path.anchor)) if p.is_file())
    else:
        return [path]
    if not found:
        raise InvalidRequest(
            f"{word} holds no image file." if path.is_dir() else f"No file matches {word!r}."
        )
    return found


def _is_pattern(word: str) -> bool:
    return any(character in word for character in "*?[") and not Path(word).exists()
