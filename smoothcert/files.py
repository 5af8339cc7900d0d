"""Atomic file writes, bounded reads, paths as text."""

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from smoothcert.errors import BadCheckpoint, InvalidRequest

MAX_FILE = 200_000_000  # bytes
STANDARD_STREAMS = 1, 2  # descriptors
NO_NAMELESS_FILES = errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT  # O_TMPFILE is not supported
# The folder accepts no new file, or the file can't be replaced (another owner, a mount point).
NOT_REPLACEABLE = errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.EXDEV


def write_whole(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file atomically: readers see the old content or the new, also after a kill.

    Links are followed; an existing file keeps its mode and owner, a new one gets `mode` less the umask.
    Devices, pipes and standard streams are written directly, and so are files that can't be replaced: with
    several hard links, of another owner, or in a folder that accepts no new file.
    Raises OSError and leaves no temporary file.
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
    """Whether the path is a device, a pipe, or the target of this process's own output."""
    before = _status(path)
    return before is not None and _is_stream(before)


def open_stream(path: Path) -> BinaryIO:
    """Open a device or pipe for writing; for this process's own output, duplicate its descriptor.

    Raises OSError.
    """
    own = _descriptor(path.stat())
    return path.open("wb") if own is None else os.fdopen(os.dup(own), "wb")


def try_writing(path: Path, *, folder: bool = False) -> None:
    """Raises OSError if no file can be written at `path`, or inside it if it is a `folder` (which is made).

    Tries it without changing any file. A pipe is not opened, as its reader would see the end.
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
    """A path as printable text: bytes that are not UTF-8 become \\xNN."""
    try:
        return as_text(path)
    except UnicodeError:
        return os.fsencode(path).decode(errors="backslashreplace")


def as_text(path: Path | str) -> str:
    """A path as UTF-8 text, also under an ASCII locale. Raises UnicodeError."""
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        return os.fsencode(text).decode()
    return text


def from_home(path: Path) -> Path:
    """Expand ~. Without a home directory (as in some containers) the path is below the null device."""
    try:
        return path.expanduser()
    except RuntimeError:
        return Path(os.devnull, path.name)


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


def read_bounded(path: Path, most_bytes: int, else_say: str) -> bytes:
    """Content of an untrusted checkpoint file. Raises BadCheckpoint: unreadable, or larger than the limit."""
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise BadCheckpoint(f"{path} can't be read: {error.strerror}.") from error
    if len(content) > most_bytes:
        raise BadCheckpoint(f"{path} {else_say}")
    return content


def _status(path: Path) -> os.stat_result | None:
    """Status of the target, links followed; None if there is none."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _is_stream(status: os.stat_result) -> bool:
    kept = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
    return not kept or _descriptor(status) is not None


def _is_shared(status: os.stat_result) -> bool:
    """Whether replacing the file would break hard links or change its owner."""
    if stat.S_ISDIR(status.st_mode):
        return False
    may_give_away = os.geteuid() == 0
    return status.st_nlink > 1 or (status.st_uid != os.geteuid() and not may_give_away)


def _descriptor(status: os.stat_result) -> int | None:
    """The standard stream of this process that leads to this file, or None."""
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
    """Write a file that gets its name when complete (O_TMPFILE), so that a kill leaves none behind."""
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
        if not named:  # src_dir_fd makes os.link follow the link in /proc
            os.link(f"/proc/self/fd/{descriptor}", beside, src_dir_fd=descriptor)


def _keep_owner_and_mode(descriptor: int, before: os.stat_result) -> None:
    made = os.fstat(descriptor)
    if (made.st_uid, made.st_gid) != (before.st_uid, before.st_gid):
        os.fchown(descriptor, before.st_uid, before.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(before.st_mode))


def _try_folder(folder: Path, name: str = "") -> None:
    """Raises OSError if no file can be made in the folder, or none with this name."""
    probe = folder / f".{secrets.token_hex(8)}.tmp"
    with suppress(FileNotFoundError):
        (folder / name).stat()  # names can be too long
    try:
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    finally:
        probe.unlink(missing_ok=True)
