"""The scripts for a GPU machine, run on the CPU: pack, train in slices, certify, fetch."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from smoothcert.models.registry import read_card

ROOT = Path(__file__).resolve().parents[2]
BATCHES = {**{f"data_batch_{i}": 8 for i in range(1, 6)}, "test_batch": 40}
PLAN = [{"dataset": "cifar10", "architecture": "resnet20", "method": "consistency", "sigma": 0.5}]
NAME = "cifar10-resnet20-consistency-0.50"


@pytest.fixture
def cifar10(tmp_path: Path) -> Path:
    """A few images of noise in the data set's own layout."""
    folder = tmp_path / "root" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, images in BATCHES.items():
        pixels = rng.integers(0, 256, (images, 3072), dtype=np.uint8)
        labels = [int(label) for label in rng.integers(0, 10, images)]
        (folder / name).write_bytes(pickle.dumps({b"data": pixels, b"labels": labels}))
    return folder.parent


def test_a_dry_run_packs_trains_certifies_and_brings_back(tmp_path: Path, cifar10: Path) -> None:
    (tmp_path / "plan.json").write_text(json.dumps(PLAN))
    changes = {
        "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "DEVICE": "cpu", "EPOCHS": "1", "N": "64",
        "WORK": str(tmp_path), "PLAN": str(tmp_path / "plan.json"), "SETUP": "cpu:eager/1-threads:float32:64",
        "MODELS": str(tmp_path / "models"), "RESULTS": str(tmp_path / "results"),
    }  # fmt: skip

    def script(*arguments: str, **more: str) -> str:
        done = subprocess.run(
            [ROOT / "benchmarks/gpu_cifar10.sh", *arguments],
            env=os.environ | changes | more, capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    script("pack", str(cifar10))
    assert "epoch 0 of 1" in script(
        "train", SECONDS_EACH="0"
    )  # no time for a step: only the state is written
    assert "epoch 1 of 1" in script("train")
    assert "2 images" in script("certify")
    assert f"{NAME}: trained, 2 images certified" in script("status")
    script("bring")
    card = read_card(tmp_path / "models" / NAME)
    assert card.evaluation is not None
    assert card.evaluation.images == 2
    assert (tmp_path / "results" / f"{NAME}.tsv").exists()
