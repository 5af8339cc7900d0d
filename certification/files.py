"""Files: written whole or not at all, read up to a bound."""

import os
from pathlib import Path

from certification.errors import BadCheckpoint


def write_whole(path: Path, content: bytes) -> None:
    """Replace `path` in one step: a reader, or a kill in the middle, sees the old file or the new one."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_bounded(path: Path, most_bytes: int, else_say: str) -> bytes:
    """A file of a checkpoint, which anybody may have made. Raises BadCheckpoint: unreadable, or larger."""
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise BadCheckpoint(f"{path} can't be read: {error.strerror}.") from error
    if len(content) > most_bytes:
        raise BadCheckpoint(f"{path} {else_say}")
    return content
