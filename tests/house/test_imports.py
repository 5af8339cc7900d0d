"""The import contracts of pyproject.toml catch what they forbid: each planted import breaks its own."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ["certification", "training", "worker", "service", "smoothcert"]


def broken_contracts(folder: Path) -> list[str]:
    """Names of the contracts that don't hold for the packages in `folder`."""
    linter = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run(
        [linter, "--no-cache"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    told = re.sub(r"\x1b\[[0-9;]*m", "", run.stdout)  # not every version heeds NO_COLOR
    assert "Contracts:" in told, told + run.stderr
    return re.findall(r"^(.+) BROKEN", told, re.MULTILINE)


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the packages, to plant a wrong import in."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("service", "import certification.votes", "the service knows the contract"),
        ("service", "import torch", "no path of imports leads from the service to torch"),
        ("certification/contract", "import torch", "no path of imports leads from the service to torch"),
        ("worker", "import training.recipe", "the worker builds on certification only"),
        ("training", "import worker", "training builds on certification only"),
        ("certification", "import celery", "certification depends on nobody"),
        ("smoothcert", "import worker", "nobody imports the service or the worker"),
    ],
)
def test_a_planted_import_breaks_its_contract(house: Path, file: str, line: str, contract: str) -> None:
    (house / file / "planted.py").write_text(f"{line}\n")
    if file == "certification/contract":  # reached only through what the service may import
        (house / "service" / "planted.py").write_text("import certification.contract.planted\n")
    (broken,) = broken_contracts(house)
    assert broken.startswith(contract)
