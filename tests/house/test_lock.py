"""requirements.lock pins everything that pyproject.toml names, and names no index."""

import re
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINS = [
    line
    for line in (ROOT / "requirements.lock").read_text().splitlines()
    if line and not line.lstrip().startswith("#")
]
VERSIONS = {canonicalize_name(Requirement(pin).name): str(Requirement(pin).specifier)[2:] for pin in PINS}
ASKED = [
    *PROJECT["project"]["dependencies"],
    *(one for extra in PROJECT["project"]["optional-dependencies"].values() for one in extra),
    *PROJECT["dependency-groups"]["dev"],
]


@pytest.mark.parametrize("pin", PINS)
def test_each_line_is_one_exact_version_from_any_index(pin: str) -> None:
    assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*==[0-9][0-9a-z.]*( ; .+)?", pin)


@pytest.mark.parametrize("asked", sorted(set(ASKED)))
def test_every_requirement_is_pinned_within_its_range(asked: str) -> None:
    requirement = Requirement(asked)
    assert requirement.specifier.contains(VERSIONS[canonicalize_name(requirement.name)])


@pytest.mark.parametrize(("name", "version"), [("torch", "2.14.1"), ("torchvision", "0.29.1")])
def test_torch_is_pinned_in_every_extra_that_needs_it(name: str, version: str) -> None:
    asked = [one for one in ASKED if Requirement(one).name == name]
    assert asked
    assert set(asked) == {f"{name}=={version}"}


def test_service_extra_brings_no_torch() -> None:
    asked = [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["service"]]
    assert not {"torch", "torchvision", "scipy"} & {Requirement(one).name for one in asked}


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_every_pin_supports_each_python_by_its_metadata(python: str) -> None:
    assert [pin for pin in PINS if not supports(Requirement(pin), python)] == []


def supports(pin: Requirement, python: str) -> bool:
    """True for packages of another platform or Python, which are not installed here."""
    place = {"python_full_version": f"{python}.9", "python_version": python}
    if pin.marker and not pin.marker.evaluate(place):
        return True
    try:
        wanted = distribution(pin.name).metadata["Requires-Python"]
    except PackageNotFoundError:
        return True
    return wanted is None or SpecifierSet(wanted).contains(place["python_full_version"])


def test_nearly_all_pins_are_installed_here() -> None:
    names = [Requirement(pin).name for pin in PINS]
    absent = [name for name in names if not any(Distribution.discover(name=name))]
    assert len(absent) < len(names) / 4
