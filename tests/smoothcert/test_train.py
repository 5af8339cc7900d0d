"""`smoothcert train` as a process that can be killed."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from certification import hardware
from certification.catalogue import read_card
from tests.smoothcert.conftest import DATA, ROOT, Command
from training.session import STATE_FILE

PATIENCE = 120.0  # seconds
METHODS = {
    "gaussian": ("--epochs", "15"),  # of one step each: time enough to be killed
    # In its warm-up when killed.
    "smoothadv-consistency": (
        *("--epochs", "6", "--num-noises", "2"),
        *("--steps", "1", "--warmup", "4"),
    ),
}
ASKED = ("--dataset", "mnist", "--data-root", DATA / "mnist-tiny", "--sigma", "0.5")


def train_and_kill(folder: Path, *asked: object) -> None:
    """SIGKILL as soon as there is a state to go on from, wherever in its second epoch that is."""
    command = [Path(sys.executable).with_name("smoothcert"), *map(str, asked), "--out", folder]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + PATIENCE
    while not (folder / STATE_FILE).exists():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_training_ends_with_the_very_weights_of_an_undisturbed_one(
    smoothcert: Command, tmp_path: Path, method: str
) -> None:
    asked = ("train", method, *ASKED, *METHODS[method])
    undisturbed = smoothcert(*asked, "--out", tmp_path / "undisturbed")
    assert undisturbed.returncode == 0, undisturbed.stderr
    killed = tmp_path / "killed"
    train_and_kill(killed, *asked)
    assert not (killed / "card.json").exists()
    resumed = smoothcert(*asked, "--out", killed, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    folders = killed, tmp_path / "undisturbed"
    weights, undisturbed_weights = ((folder / "model.safetensors").read_bytes() for folder in folders)
    assert hashlib.sha256(weights).hexdigest() == hashlib.sha256(undisturbed_weights).hexdigest()
    cards = [read_card(folder) for folder in folders]
    assert cards[0].weights_sha256 == cards[1].weights_sha256
    assert cards[0].training["final_loss"] == cards[1].training["final_loss"]


def test_training_takes_no_more_threads_than_a_container_is_granted(
    inside: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    before = torch.get_num_threads()
    monkeypatch.setattr(hardware, "cpu_quota", lambda _: 1.5)
    try:
        torch.set_num_threads(2)
        trained = inside("train", "gaussian", *ASKED, "--epochs", "1", "--out", tmp_path / "made")
        assert (trained.returncode, torch.get_num_threads()) == (0, 1), trained.stderr
    finally:
        torch.set_num_threads(before)
