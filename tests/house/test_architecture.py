"""docs/architecture.md names files and tests: all of them exist."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
TESTS = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
FILES = set(re.findall(r"`((?:[\w-]+/)*[\w-]+\.(?:py|lua|json|safetensors))`", PAGE))
WRITTEN = {"model.safetensors", "card.json"}  # by what the page describes
PACKAGES = ("certification", "training", "worker", "service", "smoothcert")


def exists(name: str) -> bool:
    """From the root, or somewhere in the packages."""
    return (ROOT / name).is_file() or any(next((ROOT / package).rglob(name), None) for package in PACKAGES)


def test_every_file_it_names_exists() -> None:
    assert len(FILES) > 30
    assert [name for name in sorted(FILES - WRITTEN) if not exists(name)] == []


def test_every_test_it_names_exists() -> None:
    assert [name for file, name in TESTS if f"def {name}(" not in (ROOT / file).read_text()] == []


def test_each_thing_that_must_never_break_has_its_guard() -> None:
    rows = [line for line in PAGE.split("## Five things")[1].splitlines() if line.startswith("| **")]
    assert len(rows) == 5
    assert [row for row in rows if "::test_" not in row] == []
