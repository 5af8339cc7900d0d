"""The repository stays small and says nothing about the machine it was written on."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = {
    ".py",
    ".md",
    ".toml",
    ".yml",
    ".yaml",
    ".lua",
    ".html",
    ".css",
    ".js",
    ".json",
    ".sh",
    ".lock",
    ".Dockerfile",
    "",
}
PLACES = [
    "certification",
    "training",
    "worker",
    "service",
    "smoothcert",
    "tests",
    "docker",
    "deploy",
    "docs",
    "benchmarks",
    "models",
]

# Bracketed letters, so that this file doesn't name what it looks for.
MACHINE_PATH = re.compile(r"(?<![\w.}~-])/(?:roo[t]|hom[e]/\w+|User[s]/\w+|wor[k]|op[t])/")
REGISTRY = re.compile(r"py[p]i\.|pythonhoste[d]|registr[y]\.npm|file:[/]{3}|-index-ur[l][= ]h")


def files(place: Path) -> Iterator[Path]:
    """Every file below `place` that could be committed."""
    for folder, folders, names in os.walk(place):
        folders[:] = [one for one in folders if one != "__pycache__" and not one.startswith(".")]
        yield from (Path(folder) / name for name in names if not name.endswith((".pyc", ".tmp")))


def texts() -> Iterator[Path]:
    for place in PLACES:
        yield from (path for path in files(ROOT / place) if path.suffix in TEXT)
    top = (path for path in ROOT.iterdir() if path.name != ".git")  # a file in a second working tree
    yield from (path for path in top if path.is_file() and path.suffix in TEXT)


def matches(pattern: re.Pattern[str]) -> list[str]:
    found = []
    for path in texts():
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    return found


def test_sample_data_of_the_tests_stays_under_five_megabytes() -> None:
    sizes = [path.stat().st_size for path in files(ROOT / "tests" / "data")]
    assert sizes
    assert sum(sizes) < 5_000_000


def test_each_bundled_checkpoint_stays_under_ten_megabytes() -> None:
    too_large = [
        folder.name
        for folder in (ROOT / "models").iterdir()
        if folder.is_dir() and sum(path.stat().st_size for path in files(folder)) >= 10_000_000
    ]
    assert not too_large


@pytest.mark.parametrize(
    "pattern", [MACHINE_PATH, REGISTRY], ids=["a path of one machine", "a registry's host"]
)
def test_no_file_names(pattern: re.Pattern[str]) -> None:
    assert matches(pattern) == []


@pytest.mark.parametrize(
    "line", ["see /hom" + "e/ann/x", 'open("/wor' + 'k/data")', "PATH=/op" + "t/tool/bin"]
)
def test_paths_of_one_machine_are_recognised(line: str) -> None:
    assert MACHINE_PATH.search(line)


def test_no_checkpoint_is_a_pickle() -> None:
    pickles = {".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin"}
    assert [path for place in PLACES for path in files(ROOT / place) if path.suffix in pickles] == []
