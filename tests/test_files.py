import errno
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from smoothcert.errors import BadCheckpoint
from smoothcert.files import is_stream, read_bounded, try_writing, write_whole

STRANGER = 12_345  # the id of a user who owns nothing
root_alone = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")


def test_a_file_of_just_the_bound_is_read_and_one_byte_more_is_not(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5, "is too long.") == b"12345"
    with pytest.raises(BadCheckpoint, match="is too long"):
        read_bounded(path, 4, "is too long.")


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match="No such file"):
        read_bounded(tmp_path / "none", 5, "")


@pytest.mark.parametrize("nameless", [True, False])
def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nameless: bool
) -> None:
    if not nameless:  # as on a file system, or a system, that can't make files without a name
        monkeypatch.delattr(os, "O_TMPFILE")
    path = tmp_path / "setup.json"
    for content in (b"old", b"new"):
        write_whole(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_gets_the_mode_of_any_other_and_an_old_one_keeps_its_own(tmp_path: Path) -> None:
    (tmp_path / "usual").write_bytes(b"")
    write_whole(tmp_path / "new", b"new")
    assert mode(tmp_path / "new") == mode(tmp_path / "usual")
    write_whole(tmp_path / "secret", b"new", mode=0o600)
    assert mode(tmp_path / "secret") == 0o600
    for kept in (0o600, 0o640, 0o666, 0o755):
        (tmp_path / "new").chmod(kept)
        write_whole(tmp_path / "new", b"newer", mode=0o644)
        assert mode(tmp_path / "new") == kept


@root_alone
def test_a_replaced_file_keeps_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    os.chown(path, STRANGER, STRANGER)
    write_whole(path, b"new")
    assert (path.stat().st_uid, path.stat().st_gid, path.read_bytes()) == (STRANGER, STRANGER, b"new")


def test_links_are_followed_to_what_they_lead_to(tmp_path: Path) -> None:
    folder = tmp_path / "below"
    folder.mkdir()
    target, link, chain, dangling = folder / "target", tmp_path / "link", tmp_path / "chain", tmp_path / "to"
    target.write_bytes(b"old")
    link.symlink_to("below/target")
    chain.symlink_to(link)
    dangling.symlink_to("below/made")
    write_whole(chain, b"new")
    write_whole(dangling, b"made")
    assert chain.is_symlink()
    assert link.is_symlink()
    assert dangling.is_symlink()
    assert (target.read_bytes(), (folder / "made").read_bytes()) == (b"new", b"made")
    assert sorted(p.name for p in folder.iterdir()) == ["made", "target"]


def test_a_file_with_two_names_keeps_both(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"longer than before")
    (tmp_path / "two").hardlink_to(tmp_path / "one")
    write_whole(tmp_path / "one", b"new")
    assert (tmp_path / "two").read_bytes() == b"new"


def test_devices_and_pipes_are_written_as_they_are(tmp_path: Path) -> None:
    write_whole(Path("/dev/null"), b"new")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    try_writing(pipe)  # takes nothing from the reader
    reader.start()
    write_whole(pipe, b"new")
    reader.join(10)
    assert read == [b"new"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    with pytest.raises(OSError, match="No space left"):
        write_whole(Path("/dev/full"), b"new")
    assert is_stream(pipe)
    assert is_stream(Path("/dev/null"))
    assert not is_stream(tmp_path / "none")


@pytest.mark.parametrize("redirected", ["file", "pipe"])
def test_what_a_process_says_and_writes_to_its_own_output_follow_each_other(
    tmp_path: Path, redirected: str
) -> None:
    script = (
        "from smoothcert.files import *; from pathlib import Path; print('before', flush=True);"
        "write_whole(Path('/dev/stdout'), b'written\\n'); print('after')"
    )
    command, path = [sys.executable, "-c", script], tmp_path / "out"
    if redirected == "pipe":
        said = subprocess.run(command, capture_output=True, check=True).stdout
    else:
        with path.open("wb") as out:
            subprocess.run(command, stdout=out, check=True)
        said = path.read_bytes()
    assert said == b"before\nwritten\nafter\n"


@pytest.mark.parametrize("place", ["none/file", "folder", "x" * 300, "file/below", "loop"])
def test_what_cannot_be_written_is_refused_beforehand_and_leaves_nothing(tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    before = sorted(tmp_path.rglob("*"))
    for write in (try_writing, lambda path: write_whole(path, b"new")):
        with pytest.raises(OSError, match=r".+"):
            write(tmp_path / place)
    assert sorted(tmp_path.rglob("*")) == before


def test_what_can_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    for place in (tmp_path / "file", tmp_path / "new", Path("/dev/null")):
        try_writing(place)
    try_writing(tmp_path / "a" / "b", folder=True)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "b", "file"]
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Others may look into it, which they may not below pytest's own."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


@root_alone
def test_a_user_who_may_not_add_files_writes_those_that_are_there(open_folder: Path) -> None:
    """As a file mounted into a container by itself, or another's that the group may write."""
    shared, closed = open_folder / "shared", open_folder / "closed"
    for path, kept in ((shared, 0o666), (closed, 0o644)):
        path.write_bytes(b"old")
        path.chmod(kept)
    script = (
        "import os, sys; from pathlib import Path; import smoothcert.files as files;"
        f"os.setgid({STRANGER}); os.setuid({STRANGER});"
        f"files.try_writing(Path({str(shared)!r})); files.write_whole(Path({str(shared)!r}), b'new')\n"
        "for act in (files.try_writing, lambda path: files.write_whole(path, b'new')):\n"
        f" for path in ({str(closed)!r}, {str(open_folder / 'another')!r}):\n"
        "  try: act(Path(path)); print('written')\n"
        "  except PermissionError: print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["refused"] * 4
    assert (shared.read_bytes(), closed.read_bytes()) == (b"new", b"old")
    assert shared.stat().st_uid == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_kill_in_the_middle_of_a_write_leaves_no_file_behind(tmp_path: Path, number: int) -> None:
    script = (
        "import os; from pathlib import Path; from smoothcert.files import write_whole\n"
        "os.fsync = lambda _: (print('written', flush=True), __import__('time').sleep(60))\n"
        f"write_whole(Path({str(tmp_path / 'state')!r}), b'new')"
    )
    (tmp_path / "state").write_bytes(b"old")
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        process.send_signal(number)
    deadline = time.monotonic() + 10
    while len(list(tmp_path.iterdir())) > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    left = [path.name for path in tmp_path.iterdir()]
    if left != ["state"]:
        assert not _makes_nameless_files(tmp_path)
        pytest.skip("this file system makes no files without a name")
    assert (tmp_path / "state").read_bytes() == b"old"


def _makes_nameless_files(folder: Path) -> bool:
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY))
    except OSError as error:
        return error.errno not in (errno.EOPNOTSUPP, errno.EISDIR)
    return True


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
