"""The README's map has one line for each file of the packages; docs/decisions lists every record."""

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ["certification", "training", "worker", "service", "smoothcert", "benchmarks"]
SHOWN = {".py", ".lua", ".html", ".css", ".js", ".sh"}
ENTRY = re.compile(r"(?P<indent> *)(?P<name>\S+)(?: {2,}(?P<text>\S.*))?")


def mapped() -> list[tuple[str, str]]:
    """Path and description of each line of the map, in order; a folder's path ends in a slash."""
    block = re.search(
        r"^## Map\n.*?```text\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE
    )
    assert block
    entries, folders = [], [""]
    for line in block[1].splitlines():
        entry = ENTRY.fullmatch(line)
        assert entry, line
        depth = len(entry["indent"]) // 2
        path = folders[depth] + entry["name"]
        folders[depth + 1 :] = [path] if path.endswith("/") else []
        entries.append((path, entry["text"] or ""))
    return entries


def existing(package: str) -> set[str]:
    """Files of a package that a reader may look for; an `__init__.py` is its folder's line."""
    found = (
        path for path in (ROOT / package).rglob("*") if path.suffix in SHOWN and path.name != "__init__.py"
    )
    return {path.relative_to(ROOT).as_posix() for path in found}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_file_has_its_line(package: str) -> None:
    listed = {path for path, _ in mapped() if path.startswith(f"{package}/") and not path.endswith("/")}
    assert listed == existing(package)


def test_no_path_is_listed_twice_or_missing_from_the_tree() -> None:
    paths = [path for path, _ in mapped()]
    assert [path for path, times in Counter(paths).items() if times > 1] == []
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_line_says_something_and_is_short() -> None:
    assert [path for path, text in mapped() if not text] == []
    text = (ROOT / "README.md").read_text()
    assert [line for line in text.split("```text")[-1].split("```")[0].splitlines() if len(line) > 120] == []


def test_every_decision_is_in_the_index() -> None:
    index = (ROOT / "docs/decisions/README.md").read_text()
    records = {path.name for path in (ROOT / "docs/decisions").glob("[0-9]*.md")}
    assert set(re.findall(r"\]\(([0-9]{4}-[a-z0-9-]+\.md)\)", index)) == records


PAGES = [
    Path("README.md"),
    Path("CONTRIBUTING.md"),
    *(p.relative_to(ROOT) for p in ROOT.glob("docs/**/*.md")),
]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text())
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


def test_there_are_links_to_follow() -> None:
    assert len(PAGES) > 20
    assert "](" in (ROOT / "README.md").read_text()
