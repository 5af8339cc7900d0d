"""`make release-check` finds what it should."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.release import build, tree

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted(ROOT.glob("docs/**/*.md")),
]
CHANGELOG = "## [Unreleased]\n\n## [1.2.0] - 2026-01-02\n\n## [1.1.0] - 2025-01-02\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_page_renders_and_its_links_lead_somewhere(page: Path) -> None:
    assert tree.unrendered(page.read_text()) == []
    assert tree.unlinked(page) == []


def test_a_link_to_a_missing_file_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("[a](page.md#part) [b](gone.md#part) [c](https://example.org)\n")
    assert tree.unlinked(page) == ["page.md links to gone.md"]


@pytest.mark.parametrize(
    "broken",
    ["a line\n| a | b |\n| 1 | 2 |\n", "| a | b |\n|---|\n| 1 | 2 |\n", "#Heading\n", "```sh\nmake\n"],
)
def test_what_does_not_render_is_found(broken: str) -> None:
    assert tree.unrendered(broken)


def test_the_version_is_written_once_and_every_place_takes_it_from_there() -> None:
    released = tree.version(ROOT)
    assert re.fullmatch(r"\d+\.\d+\.\d+", released)
    assert tree.disagreeing(ROOT, released) == []
    wrong = " ".join(tree.disagreeing(ROOT, "9.9.9"))
    assert "OpenAPI says" in wrong
    assert "CITATION.cff says" in wrong


def test_a_tag_of_an_image_is_compared(tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yml").write_text("image: smoothcert-worker:0.0.1\n")
    found = tree.disagreeing(tmp_path, tree.version(ROOT))
    assert found == [f"docker-compose.yml, smoothcert-worker says 0.0.1, not {tree.version(ROOT)}"]


@pytest.mark.parametrize(
    ("changelog", "released", "complaints"),
    [
        (CHANGELOG, "1.2.0", 0),
        (CHANGELOG, "1.3.0", 1),
        (CHANGELOG.replace(" - 2026-01-02", ""), "1.2.0", 1),
        (CHANGELOG.replace("[Unreleased]", ""), "1.2.0", 1),
        ("", "1.2.0", 2),
    ],
)
def test_the_newest_dated_section_is_this_versions(changelog: str, released: str, complaints: int) -> None:
    assert len(tree.unlogged(changelog, released)) == complaints


def test_what_is_not_committed_is_named(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    assert tree.uncommitted(tmp_path) == []
    (tmp_path / "new.py").touch()
    assert tree.uncommitted(tmp_path) == ["not committed: ?? new.py"]


def test_a_wheel_holds_the_packages_and_nothing_else() -> None:
    packages = {"service/app.py", "service/static/page.css"}
    held = packages | {"smoothcert-1.0.dist-info/METADATA"}
    assert build.wrong_in_wheel(held, packages) == []
    assert build.wrong_in_wheel(held - {"service/static/page.css"}, packages) == [
        "the wheel lacks service/static/page.css"
    ]
    assert build.wrong_in_wheel(held | {"tests/x.py", "models/m/model.safetensors"}, packages) == [
        "the wheel should not hold models/m/model.safetensors",
        "the wheel should not hold tests/x.py",
    ]


def test_an_sdist_holds_what_the_wheel_is_built_from() -> None:
    packages, present = {"service/app.py"}, {"pyproject.toml", "README.md", "tests"}
    held = packages | {"pyproject.toml", "README.md", "PKG-INFO", "smoothcert.egg-info/SOURCES.txt"}
    assert build.wrong_in_sdist(held, packages, present) == []
    assert build.wrong_in_sdist(held - {"README.md"}, packages, present) == ["the sdist lacks README.md"]
    assert build.wrong_in_sdist(held | {"tests/x.py"}, packages, present) == [
        "the sdist should not hold tests/x.py"
    ]


def test_what_a_release_is_made_of_is_committed() -> None:
    committed = build.committed(ROOT)
    assert "service/static/index.html" in committed
    assert any(name.startswith("smoothcert/jobs/lua/") for name in committed)
    assert {name.partition("/")[0] for name in committed} == set(build.PACKAGES)
