"""docs/threat-model.md names tests by file and by words of their names: all of them exist."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
PAGE = (TESTS.parent / "docs" / "threat-model.md").read_text()
FILE = re.compile(r"`([a-z_]+(?:/[a-z_]+)*/test_[a-z_]+)`")
CLAIMS = [line for line in PAGE.splitlines() if FILE.search(line)]
THREATS = {(re.search(r"\w[^|]*", line) or line)[0].strip(): line for line in CLAIMS}


def functions(claim: str) -> str:
    """The names of all functions in the files that a claim names, as words."""
    texts = [(TESTS / f"{file}.py").read_text() for file in FILE.findall(claim)]
    names = [name for text in texts for name in re.findall(r"def (\w+)", text)]
    return "\n".join(name.replace("_", " ") for name in names)


@pytest.mark.parametrize("claim", THREATS.values(), ids=THREATS)
def test_what_holds_it_exists(claim: str) -> None:
    there = functions(claim)
    said = [words.replace("'", "") for words in re.findall(r'"([^"]+)"', claim)]
    assert [words for words in said if words not in there] == []


def test_every_row_names_its_tests() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 10
    assert len(THREATS) == len(CLAIMS)
    assert [row for row in rows if not FILE.search(row)] == []
