"""CONTRIBUTING's recipes: a method or data set is one file, one test and one line; no other code knows it."""

import re
from pathlib import Path
from pkgutil import resolve_name

import pytest

from training.methods import METHODS, find_method
from training.sources import SOURCES, find_source
from training.sources.base import Source

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text()
FAMILIES = {"mnist", "cifar10"}  # published options are kept by these, which methods therefore name


def code() -> dict[Path, str]:
    """All that could know such a name besides its line and the published experiments."""
    files = [path for package in ("training", "smoothcert") for path in (ROOT / package).rglob("*.py")]
    apart = {ROOT / "training/methods/__init__.py", ROOT / "training/sources/__init__.py"}
    return {p: p.read_text() for p in files if "experiments" not in p.parts and p not in apart}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_the_file_of_its_name(name: str) -> None:
    module, _, attribute = METHODS[name].partition(":")
    assert module == f"training.methods.{name.replace('-', '_')}"
    assert find_method(name) is resolve_name(module).__dict__[attribute]


@pytest.mark.parametrize("name", SOURCES)
def test_a_data_set_is_the_file_of_its_name(name: str) -> None:
    assert SOURCES[name].partition(":")[0] == f"training.sources.{name.replace('-', '_')}"
    assert isinstance(find_source(name), Source)


@pytest.mark.parametrize("name", sorted({*METHODS, *SOURCES} - FAMILIES))
def test_no_other_code_spells_its_name(name: str) -> None:
    """But a data set's file may say what a method's published runs did on it."""
    known = {path for path, text in code().items() if f'"{name}"' in text}
    assert {path for path in known if path.parent.name != "sources"} == set()


def test_such_a_name_would_be_found() -> None:
    assert any('"mnist"' in text for text in code().values())


@pytest.mark.parametrize("title", ["Adding a training method", "Adding a data set", "Adding an architecture"])
def test_what_a_recipe_points_at_exists(title: str) -> None:
    (recipe,) = re.findall(rf"^## {title}\n(.*?)^## ", GUIDE, re.DOTALL | re.MULTILINE)
    paths = [path for path in re.findall(r"`([\w./]+/[\w.]*)`", recipe) if "<" not in path]
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []
