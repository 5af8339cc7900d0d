"""Two processes train what one trains: the same losses and, to rounding, the same weights."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from smoothcert.models.registry import read_card
from tests.cli.conftest import command_here
from training.distributed import rows_of_rank
from training.run import METRICS_FILE

ROOT = Path(__file__).resolve().parents[2]
TOGETHER = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python")
# An attack, a term over all images of a step, and shares of unlike size (67 images, 3 noises).
ASK = (
    *("train", "smoothadv-consistency", "--dataset", "mnist", "--data-root", "tests/data/mnist-tiny"),
    *("--sigma", "0.5", "--epochs", "2"),
    *("--num-noises", "3", "--steps", "2", "--warmup", "0"),
)


def train_together(folder: Path) -> "subprocess.CompletedProcess[str]":
    program = str(Path(sys.executable).with_name("smoothcert"))
    done = subprocess.run(
        [sys.executable, *TOGETHER, program, *ASK, "--out", str(folder)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def losses(folder: Path) -> list[float]:
    """Of the epochs."""
    lines = (folder / METRICS_FILE).read_text().splitlines()[1:]
    return [float(line.split("\t")[1]) for line in lines]


def test_two_processes_see_the_losses_of_one_and_end_with_its_weights(
    tmp_path: Path, one_thread: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the precision that the first of them measured to be the fastest."""
    told = train_together(tmp_path / "shared")
    assert told.stdout.count("loss") == told.stderr.count("training in ") == 1
    precision = read_card(tmp_path / "shared").training["precision"]
    monkeypatch.chdir(ROOT)
    with command_here(tmp_path) as run:
        done = run(*ASK, "--precision", precision, "--out", tmp_path / "alone")
    assert done.returncode == 0, done.stderr
    alone, shared = losses(tmp_path / "alone"), losses(tmp_path / "shared")
    assert len(alone) == 2
    assert shared == pytest.approx(alone, rel=1e-4 if precision == "float32" else 1e-2)
    if precision == "float32":  # bfloat16 rounds each share otherwise
        ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("alone", "shared"))
        for name, weight in ours.items():
            torch.testing.assert_close(theirs[name], weight, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("total", "ranks"), [(201, 2), (7, 4), (3, 4), (256, 8)])
def test_every_row_belongs_to_one_rank(total: int, ranks: int) -> None:
    rows = [row for rank in range(ranks) for row in range(*rows_of_rank(total, rank, ranks))]
    assert rows == list(range(total))
