"""The image files that a command names: files, folders and patterns."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from smoothcert.cli.output import note
from smoothcert.errors import InvalidRequest
from smoothcert.images.folders import LeftOut, pictures_below

SLICE = 100  # images sent together; a service takes 256 and 100 MB unless told otherwise
SLICE_BYTES = 50_000_000
MOST_FILE = 200_000_000  # bytes: more than 4096x4096 pixels take in any format


def read_file(path: Path) -> bytes:
    """A file's bytes. Raises InvalidRequest: unreadable, or larger than any image that is taken."""
    data = read_up_to(path, MOST_FILE + 1)
    if len(data) > MOST_FILE:
        raise InvalidRequest(f"{path} is larger than {MOST_FILE} bytes.")
    return data


def read_up_to(path: Path, most: int) -> bytes:
    """A file's first bytes: a device or a pipe may never end. Raises InvalidRequest."""
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise InvalidRequest(f"{path} can't be read: {error.strerror}.") from error


def expand(words: Sequence[str]) -> list[Path]:
    """The files that words name, each once: files, folders searched whole, patterns.

    Raises InvalidRequest.
    """
    return list(dict.fromkeys(path for word in words for path in _files(word)))


def is_one_file(words: Sequence[str]) -> bool:
    """Whether just one file is named, as itself: the answer is then one certificate, not a list."""
    return len(words) == 1 and not Path(words[0]).is_dir() and not _is_pattern(words[0])


def slices(paths: Sequence[Path]) -> Iterator[list[tuple[Path, bytes]]]:
    """Files with their bytes, as many together as a service takes. Raises InvalidRequest."""
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
