"""Checks of a tree before its release. Each returns what is wrong, one problem a line."""

import re
import subprocess
import tomllib
from importlib.metadata import version as installed_version
from pathlib import Path

from markdown_it import MarkdownIt

from service.app import create_app

RELEASED = re.compile(r"^## \[([0-9][^\]]*)\] - (\d{4}-\d{2}-\d{2})$", re.MULTILINE)
IMAGE = re.compile(r"\b(smoothcert-(?:service|worker)):(?:\$\{SMOOTHCERT_VERSION:-)?([0-9][\w.-]*)")
CITED = re.compile(r"^version: (\S+)$", re.MULTILINE)
DEPLOYED = ("docker-compose*.yml", "docker/*.Dockerfile", "deploy/kubernetes/**/*.yaml")


def version(root: Path) -> str:
    """The version in pyproject.toml."""
    said: str = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    return said


def git(root: Path, *arguments: str) -> list[str]:
    done = subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def uncommitted(root: Path) -> list[str]:
    return [f"not committed: {line}" for line in git(root, "status", "--porcelain")]


def unlogged(changelog: str, released: str) -> list[str]:
    """The newest dated section must be this version's, and there must be an [Unreleased] one."""
    sections = RELEASED.findall(changelog)
    wrong = (
        [] if "## [Unreleased]" in changelog else ["CHANGELOG.md has no section [Unreleased] to go on with"]
    )
    if not sections or sections[0][0] != released:
        newest = sections[0][0] if sections else "none"
        wrong.append(f"CHANGELOG.md's newest dated section is {newest}, not {released}")
    return wrong


def disagreeing(root: Path, released: str) -> list[str]:
    """Other places that hold a version."""
    versions = {"the installed package": installed_version("smoothcert"), "OpenAPI": create_app().version}
    if (root / "CITATION.cff").exists():
        versions |= {"CITATION.cff": "".join(CITED.findall((root / "CITATION.cff").read_text()))}
    for pattern in DEPLOYED:
        for path in root.glob(pattern):
            versions |= {
                f"{path.relative_to(root)}, {name}": tag for name, tag in IMAGE.findall(path.read_text())
            }
    return [f"{place} says {other}, not {released}" for place, other in versions.items() if other != released]


def unrendered(markdown: str) -> list[str]:
    """Text that was meant as a table, a heading or the end of a block, but renders as a sentence."""
    parser = MarkdownIt("commonmark").enable("table")
    sentences = [token.content for token in parser.parse(markdown) if token.type == "inline"]
    fences = len(re.findall(r"^ *```", markdown, re.MULTILINE))
    wrong = [text for text in sentences if re.search(r"^(\|.*\|\s*$|#+\w)", text, re.MULTILINE)]
    return [f"not rendered: {text[:60]!r}" for text in wrong] + ["a block has no end"] * (fences % 2)


def unlinked(page: Path) -> list[str]:
    """Links of a page to files of this repository that are not there."""
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    return [f"{page.name} links to {link}" for link in links if not page.parent.joinpath(link).exists()]
