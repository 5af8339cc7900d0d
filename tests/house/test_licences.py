"""Every pinned package has a known free licence, read from what is installed."""

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PINS = [
    Requirement(line).name
    for line in (ROOT / "requirements.lock").read_text().splitlines()
    if line and not line.lstrip().startswith("#")
]
FREE = re.compile(
    r"\b(MIT|BSD|Apache|ISC|PSF|Python Software Foundation|MPL|Mozilla|HPND|CMU|Unlicense|0BSD)",
    re.IGNORECASE,
)
UNWANTED = re.compile(r"\b(AGPL|Affero|SSPL|BUSL|Commons Clause|non-?commercial)", re.IGNORECASE)
OF_THE_VENDOR = re.compile(
    r"^(nvidia-|cuda-|triton$|torch$|torchvision$)"
)  # what PyTorch's own wheels bring for the GPU
UNSTATED = {"axe-playwright-python": "MIT, by its LICENSE file"}
# Copyleft: `make duplicates` runs it; the product neither imports nor ships it.
ONLY_RUN = {"pylint", "astroid"}


def installed(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError:
        pytest.skip("a dependency of another platform, not installed here")


def licence(package: Distribution) -> str:
    """All that its metadata says. The old field may hold the whole text, whose first line names it."""
    told = package.metadata
    kinds = [one for one in told.get_all("Classifier") or [] if one.startswith("License")]
    return " ".join([told.get("License-Expression") or "", *kinds, (told.get("License") or "")[:100]])


@pytest.mark.parametrize(
    "name", [name for name in PINS if not OF_THE_VENDOR.match(name) and name not in ONLY_RUN]
)
def test_every_dependency_states_a_free_licence(name: str) -> None:
    said = UNSTATED.get(name) or licence(installed(name))
    assert FREE.search(said), said
    assert not UNWANTED.search(said), said


@pytest.mark.parametrize("name", UNSTATED)
def test_an_exception_is_only_for_a_package_that_states_nothing(name: str) -> None:
    assert not FREE.search(licence(installed(name)))


def test_only_pytorch_brings_packages_of_the_vendor() -> None:
    """pyproject.toml names none of NVIDIA's libraries."""
    asked = re.findall(r'^    "([a-z0-9-]+)', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert {name for name in asked if OF_THE_VENDOR.match(name)} == {"torch", "torchvision"}
