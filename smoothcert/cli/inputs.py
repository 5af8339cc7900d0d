"""The image files that a command names: files, folders and patterns."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from smoothcert.cli.output import note
from smoothcert.errors import InvalidRequest
from smoothcert.images.folders import LeftOut, pictures_below

SLICE = 100  # images in one request; a service accepts 256 and 100 MB by default
SLICE_BYTES = 50_000_000
MAX_FILE = 200_000_000  # bytes


def read_file(path: Path) -> bytes:
    """The bytes of a file. Raises InvalidRequest: unreadable, or larger than any accepted image."""
    data = read_up_to(path, MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise InvalidRequest(f"{path} is larger than {MAX_FILE} bytes.")
    return data


def read_up_to(path: Path, most: int) -> bytes:
    """The first bytes of a file; a device or pipe may be endless. Raises InvalidRequest."""
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise InvalidRequest(f"{path} can't be read: {error.strerror}.") from error


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
