"""Files: written whole or not at all, read up to a bound."""

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from smoothcert.errors import BadCheckpoint

STANDARD_STREAMS = 1, 2  # descriptors
NO_NAMELESS_FILES = errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT  # by file system and kernel
# A folder that takes no new file, or a file that can't be replaced: another's, or mounted by itself.
NOT_REPLACEABLE = errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.EXDEV


def write_whole(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Replace what `path` names in one step: a reader, or a kill in the middle, sees the old file or the new.

    Links are followed; an existing file keeps its mode and owner, a new one gets `mode` less the umask.
    Devices, pipes and the streams of this process are written as they are. So is, in place, a file that
    can't be replaced: one with several names, of another owner, in a folder that takes no new file.
    Raises OSError, and leaves nothing behind.
    """
    before = _status(path)
    if before is not None and (_is_stream(before) or _is_shared(before)):
        _write_through(path, content)
        return
    try:
        _replace(Path(os.path.realpath(path)), content, before, mode)
    except OSError as error:
        error.filename = str(path)
        if before is None or error.errno not in NOT_REPLACEABLE:
            raise
        _write_through(path, content)


def is_stream(path: Path) -> bool:
    """Whether it is a device, a pipe, or where this process's own output goes: nothing to keep or replace."""
    before = _status(path)
    return before is not None and _is_stream(before)


def open_stream(path: Path) -> BinaryIO:
    """A device or pipe, for writing; this process's own output as it is open already, so that both lengthen
    one file. Raises OSError."""
    own = _descriptor(path.stat())
    return path.open("wb") if own is None else os.fdopen(os.dup(own), "wb")


def try_writing(path: Path, *, folder: bool = False) -> None:
    """Raises OSError where a file could not be written at `path`, or in it as a `folder`, which is made.

    It is really tried, but no file is changed. A pipe is not opened: its reader would take that for the end.
    """
    if folder:
        path.mkdir(parents=True, exist_ok=True)
        _try_folder(path)
        return
    before = _status(path)
    target = Path(os.path.realpath(path))
    if before is None:
        _try_folder(target.parent, target.name)
    elif stat.S_ISDIR(before.st_mode) or stat.S_ISSOCK(before.st_mode):
        kind = errno.EISDIR if stat.S_ISDIR(before.st_mode) else errno.ENXIO
        raise OSError(kind, os.strerror(kind), str(path))
    elif not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def shown(path: Path | str) -> str:
    """A path as text that can be written, sent and read anywhere: bytes that are no UTF-8 become \\xNN."""
    try:
        return as_text(path)
    except UnicodeError:
        return os.fsencode(path).decode(errors="backslashreplace")


def as_text(path: Path | str) -> str:
    """A path that is text, also where the locale knows nothing but ASCII. Raises UnicodeError for another."""
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        return os.fsencode(text).decode()
    return text


def from_home(path: Path) -> Path:
    """With ~ as this user's home; for one who has none, as in some containers, a place that keeps nothing."""
    try:
        return path.expanduser()
    except RuntimeError:
        return Path(os.devnull, path.name)


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


def _status(path: Path) -> os.stat_result | None:
    """Of what links lead to; None where nothing is there yet."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _is_stream(status: os.stat_result) -> bool:
    kept = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
    return not kept or _descriptor(status) is not None


def _is_shared(status: os.stat_result) -> bool:
    """Whether replacing the file would part it from its other names or from its owner."""
    if stat.S_ISDIR(status.st_mode):
        return False
    may_give_away = os.geteuid() == 0
    return status.st_nlink > 1 or (status.st_uid != os.geteuid() and not may_give_away)


def _descriptor(status: os.stat_result) -> int | None:
    """The stream of this process that goes there."""
    for descriptor in STANDARD_STREAMS:
        with suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), status):
                return descriptor
    return None


def _write_through(path: Path, content: bytes) -> None:
    with open_stream(path) as file:
        file.write(content)


def _replace(target: Path, content: bytes, before: os.stat_result | None, mode: int) -> None:
    beside = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        _write_beside(beside, content, before, mode)
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _write_beside(beside: Path, content: bytes, before: os.stat_result | None, mode: int) -> None:
    """The file has no name until it is whole, where the system has that: a kill then leaves none behind."""
    try:
        descriptor, named = os.open(beside.parent, os.O_TMPFILE | os.O_WRONLY, mode), False
    except (AttributeError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in NO_NAMELESS_FILES:
            raise
        descriptor, named = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), True
    with os.fdopen(descriptor, "wb") as file:
        if before is not None:
            _keep_owner_and_mode(descriptor, before)
        file.write(content)
        file.flush()
        os.fsync(descriptor)
        if not named:  # with a folder's descriptor the link in /proc is followed to the file itself
            os.link(f"/proc/self/fd/{descriptor}", beside, src_dir_fd=descriptor)


def _keep_owner_and_mode(descriptor: int, before: os.stat_result) -> None:
    made = os.fstat(descriptor)
    if (made.st_uid, made.st_gid) != (before.st_uid, before.st_gid):
        os.fchown(descriptor, before.st_uid, before.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(before.st_mode))


def _try_folder(folder: Path, name: str = "") -> None:
    """Raises OSError where no file can be made in a folder, or none of this name."""
    probe = folder / f".{secrets.token_hex(8)}.tmp"
    with suppress(FileNotFoundError):
        (folder / name).stat()  # names can be too long
    try:
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    finally:
        probe.unlink(missing_ok=True)
