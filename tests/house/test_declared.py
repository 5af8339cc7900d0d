"""What is imported is declared: an installation with only its extra has all that its package loads."""

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
PACKAGES = ["certification", "training", "worker", "service", "smoothcert"]
EXTRAS = {
    "service": ["service"],
    "worker": ["worker", "cpu"],
    "training": ["training", "worker", "cpu"],  # evaluation casts votes as a worker does
    "smoothcert": list(PROJECT["optional-dependencies"]),
}
ALONGSIDE = {
    "kombu": "celery",
    "billiard": "celery",
    "starlette": "fastapi",
    "anyio": "fastapi",
    "triton": "torch",
}


@cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES, include_external_packages=True)


def loaded_by(package: str) -> set[str]:
    """Top-level names of other people's packages that some path of imports from `package` leads to."""
    modules = graph().find_upstream_modules(package, as_package=True)
    return {name for name in modules if "." not in name} - set(PACKAGES) - sys.stdlib_module_names


def declared(package: str) -> set[str]:
    """Distributions that the core and the package's extras ask for."""
    asked = list(PROJECT["dependencies"])
    for extra in EXTRAS[package]:
        asked += PROJECT["optional-dependencies"][extra]
    return {canonicalize_name(Requirement(one).name) for one in asked}


@pytest.mark.parametrize("package", EXTRAS)
def test_all_that_a_package_loads_is_declared_in_its_extras(package: str) -> None:
    known = packages_distributions()
    asked = declared(package)
    missing = {
        name
        for name in loaded_by(package)
        if not {canonicalize_name(one) for one in known.get(ALONGSIDE.get(name, name), [])} & asked
    }
    assert missing == set()


def test_the_graph_sees_what_the_worker_loads() -> None:
    assert "torch" in loaded_by("training")
    assert "torch" not in loaded_by("service")
