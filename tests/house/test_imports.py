"""Each import contract of pyproject.toml catches an import that it forbids."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ["smoothcert", "training", "worker", "service"]


def broken_contracts(folder: Path) -> list[str]:
    """Names of the contracts that the packages in `folder` break."""
    linter = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run(
        [linter, "--no-cache"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    told = re.sub(r"\x1b\[[0-9;]*m", "", run.stdout)  # some versions ignore NO_COLOR
    assert "Contracts:" in told, told + run.stderr
    return re.findall(r"^(.+) BROKEN", told, re.MULTILINE)


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A copy of the packages, for a wrong import."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("service", "import smoothcert.votes", "the service imports documents"),
        ("service", "import torch", "no path of imports leads from the service to torch"),
        ("smoothcert/images", "import torch", "no path of imports leads from the service to torch"),
        ("worker", "import training.recipe", "the worker builds on the library only"),
        ("training", "import worker", "training builds on the library only"),
        ("smoothcert/attack", "import celery", "the library knows neither"),
        ("smoothcert/stats", "import torch", "statistics and documents load"),
        ("smoothcert/cli", "import worker", "nobody imports the service or the worker"),
    ],
)
def test_a_planted_import_breaks_its_contract(packages: Path, file: str, line: str, contract: str) -> None:
    (packages / file / "planted.py").write_text(f"{line}\n")
    if file == "smoothcert/images":  # reached only through what the service may import
        (packages / "service" / "planted.py").write_text("import smoothcert.images.planted\n")
    (broken,) = broken_contracts(packages)
    assert broken.startswith(contract)
