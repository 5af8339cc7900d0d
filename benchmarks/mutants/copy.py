"""A copy of the repository in which modules are mutated; the working tree is never touched."""

import importlib.util
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_LEFT_OUT = ("docs/", "models/", "benchmarks/")  # large, or ourselves


@contextmanager
def copied(to: Path) -> Iterator[Path]:
    """What git knows and what it doesn't ignore, below `to`, as long as it is needed."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    shutil.rmtree(to, ignore_errors=True)
    for name in names:
        if name and not name.startswith(_LEFT_OUT) and (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, to / name)
    try:
        yield to
    finally:
        shutil.rmtree(to)


@contextmanager
def mutated(path: Path, code: str) -> Iterator[None]:
    """The file with this code in place of its own, and no compiled file left that could stand for it."""
    own = path.read_text()
    path.write_text(code)
    Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
    try:
        yield
    finally:
        path.write_text(own)
