"""`smoothcert train` as a process that can be killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.smoothcert.conftest import DATA, ROOT, Command

PATIENCE = 120.0  # seconds
ASKED = ("train", "consistency", "--dataset", "mnist", "--data-root", DATA / "mnist-tiny", "--sigma", "0.5")


def train_and_kill(folder: Path, epochs_first: int, *asked: object) -> None:
    """SIGKILL as soon as the metrics tell of so many epochs, wherever in the next one that is."""
    command = [Path(sys.executable).with_name("smoothcert"), *map(str, asked), "--out", folder]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})
    metrics, deadline = folder / "metrics.tsv", time.monotonic() + PATIENCE
    while not metrics.exists() or metrics.read_text().count("\n") <= epochs_first:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_killed_training_ends_with_the_very_weights_of_an_undisturbed_one(
    smoothcert: Command, tmp_path: Path
) -> None:
    asked = (*ASKED, "--epochs", "6")
    undisturbed = smoothcert(*asked, "--out", tmp_path / "undisturbed")
    assert undisturbed.returncode == 0, undisturbed.stderr
    killed = tmp_path / "killed"
    train_and_kill(killed, 1, *asked)
    assert not (killed / "card.json").exists()
    assert smoothcert(*asked, "--out", killed).returncode == 2, "a run is not overwritten"
    resumed = smoothcert(*asked, "--out", killed, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    weights = (killed / "model.safetensors").read_bytes()
    assert weights == (tmp_path / "undisturbed" / "model.safetensors").read_bytes()
