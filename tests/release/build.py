"""Builds wheel and sdist of the last commit in a temporary folder, and checks what they hold."""

import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from tests.release.tree import git

PACKAGES = ("smoothcert", "training", "worker", "service")
BESIDE = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "requirements.lock", "MANIFEST.in"}
GENERATED = ("PKG-INFO", "setup.cfg", "smoothcert.egg-info/")
SERVE = """
from fastapi.testclient import TestClient
from service.app import create_app
with TestClient(create_app(), base_url="http://localhost") as client:
    assert client.get("/").status_code == client.get("/static/js/app.js").status_code == 200
"""
TRIAL = (
    """
import importlib, pathlib, sys
for name in {packages}:
    assert pathlib.Path(importlib.import_module(name).__path__[0]).parent == pathlib.Path({where!r}), name
import smoothcert.cli.main, worker.app, training.report
from smoothcert.jobs.scripts import Scripts
"""
    + SERVE
)


def build(root: Path, uv: Path, out: Path) -> tuple[Path, Path]:
    """Wheel and sdist of HEAD, in the folder `out`."""
    with tempfile.TemporaryDirectory() as temporary:
        export = Path(temporary) / "smoothcert"
        subprocess.run(
            ["git", "-C", root, "archive", "--prefix=smoothcert/", "-o", f"{export}.tar", "HEAD"], check=True
        )
        with tarfile.open(f"{export}.tar") as archive:
            archive.extractall(temporary, filter="data")
        subprocess.run([uv, "build", "--quiet", "--out-dir", out, export], check=True)
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


def committed(root: Path) -> set[str]:
    """Files of the packages."""
    return set(git(root, "ls-files", *PACKAGES))


def wheel_holds(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def sdist_holds(sdist: Path) -> set[str]:
    """Paths without the top folder."""
    with tarfile.open(sdist) as archive:
        return {one.name.partition("/")[2] for one in archive if one.isfile()}


def wrong_in_wheel(names: set[str], packages: set[str]) -> list[str]:
    """It should hold the packages' files and metadata: no tests, no data, no checkpoints."""
    own = {name for name in names if ".dist-info/" not in name}
    missing = [f"the wheel lacks {name}" for name in sorted(packages - own)]
    return missing + [f"the wheel should not hold {name}" for name in sorted(own - packages)]


def wrong_in_sdist(names: set[str], packages: set[str], present: set[str]) -> list[str]:
    """It should hold what the wheel is built from. present: names at the root of the tree."""
    own = {name for name in names if not name.startswith(GENERATED)}
    wanted = packages | (BESIDE & present)
    missing = [f"the sdist lacks {name}" for name in sorted(wanted - own)]
    return missing + [f"the sdist should not hold {name}" for name in sorted(own - wanted)]


def wrong_when_installed(wheel: Path) -> list[str]:
    """The wheel's files, without this tree, can be imported and serve the page."""
    with tempfile.TemporaryDirectory() as where:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(where)
        trial = TRIAL.format(packages=PACKAGES, where=where)
        done = subprocess.run(
            [sys.executable, "-c", trial], cwd=where, env=os.environ | {"PYTHONPATH": where},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    return [f"the wheel's own packages don't work: {done.stderr.strip()[-500:]}"] if done.returncode else []


def wrong_in_an_empty_environment(wheel: Path, uv: Path, constraints: Path) -> list[str]:
    """The wheel with its extra `service`, in an environment that has nothing else: it serves the page.

    The extras with PyTorch take gigabytes; `wrong_when_installed` tries their packages.
    """
    with tempfile.TemporaryDirectory() as where:
        python = Path(where) / "bin" / "python"
        trial = (
            [uv, "venv", "--quiet", "--python", sys.executable, where],
            [uv, "pip", "install", "--quiet", "--python", python, "-c", constraints, f"{wheel}[service]"],
            [python.with_name("smoothcert"), "--help"],
            [python, "-c", SERVE],
        )  # fmt: skip
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        for command in trial:
            done = subprocess.run(
                command, cwd=where, env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode:
                return [f"in an empty environment {command[0]} fails: {done.stderr.strip()[-500:]}"]
    return []
