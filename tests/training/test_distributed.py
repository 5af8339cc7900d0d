"""Two processes train what one trains: the same losses and, to rounding, the same weights."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from smoothcert.models.registry import read_card
from training.distributed import rows_of_rank
from training.run import METRICS_FILE

ROOT = Path(__file__).resolve().parents[2]
TOGETHER = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python")
# An attack, a term over all images of a step, and shares of unlike size (67 images, 3 noises).
ASK = (
    *("train", "smoothadv-consistency", "--dataset", "mnist", "--data-root", "tests/data/mnist-tiny"),
    *("--sigma", "0.5", "--epochs", "2", "--precision", "float32"),
    *("--num-noises", "3", "--steps", "2", "--warmup", "0"),
)

MEASURED = (
    *("train", "gaussian", "--dataset", "mnist", "--data-root", "tests/data/mnist-tiny"),
    *("--sigma", "0.5", "--epochs", "1"),
)


def train(folder: Path, *launcher: str) -> list[float]:
    """Losses of the epochs."""
    command = [*launcher, str(Path(sys.executable).with_name("smoothcert")), *ASK, "--out", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("loss") == 1
    lines = (folder / METRICS_FILE).read_text().splitlines()[1:]
    return [float(line.split("\t")[1]) for line in lines]


def test_two_processes_see_the_losses_of_one_and_end_with_its_weights(tmp_path: Path) -> None:
    alone = train(tmp_path / "alone")
    shared = train(tmp_path / "shared", sys.executable, *TOGETHER)
    assert len(alone) == 2
    assert shared == pytest.approx(alone, rel=1e-4)
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("alone", "shared"))
    for name, weight in ours.items():
        torch.testing.assert_close(theirs[name], weight, rtol=1e-3, atol=1e-5)


def test_the_first_process_decides_the_precision_of_all(tmp_path: Path) -> None:
    command = [sys.executable, *TOGETHER, str(Path(sys.executable).with_name("smoothcert")), *MEASURED]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "shared")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("training in ") == 1
    assert read_card(tmp_path / "shared").training["precision"] in ("float32", "bfloat16")


@pytest.mark.parametrize(("total", "ranks"), [(201, 2), (7, 4), (3, 4), (256, 8)])
def test_every_row_belongs_to_one_rank(total: int, ranks: int) -> None:
    rows = [row for rank in range(ranks) for row in range(*rows_of_rank(total, rank, ranks))]
    assert rows == list(range(total))
