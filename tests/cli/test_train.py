"""`smoothcert train` as a process that can be killed."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from smoothcert.engines import hardware
from smoothcert.models.registry import read_card
from tests.cli.conftest import DATA, MODEL, ROOT, Command, settings_of
from training.autotune import AutotuneResult, Trial
from training.datasets.image_set import ImageSet
from training.recipe import Recipe
from training.run import STATE_FILE, TrainingRun, saved_recipe

LAYOUTS = {True: "channels-last", False: "contiguous"}
PATIENCE = 120.0  # seconds
METHODS = {
    "gaussian": ("--epochs", "15"),  # of one step each: time enough to be killed
    # In its warm-up when interrupted.
    "smoothadv-consistency": (
        *("--epochs", "4", "--num-noises", "2"),
        *("--steps", "1", "--warmup", "3"),
    ),
    "denoiser": ("--classifier", MODEL, "--depth", "3", "--channels", "4", "--epochs", "3"),
}
ASKED = ("--dataset", "mnist", "--data-root", DATA / "mnist-tiny", "--sigma", "0.5")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As in the process that is killed."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train_and_kill(folder: Path, models: Path, *asked: object) -> str:
    """SIGKILL as soon as there is a state to go on from, wherever in its second epoch that is; its stderr."""
    command = [Path(sys.executable).with_name("smoothcert"), *map(str, asked), "--out", folder]
    environment = os.environ | settings_of(models) | {"OMP_NUM_THREADS": "1", "OMP_DISPLAY_ENV": "true"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + PATIENCE
    while not (folder / STATE_FILE).exists():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    return process.communicate()[1]


def train_and_interrupt(inside: Command, folder: Path, *asked: object) -> None:
    """Ctrl-C after the first state is written; leaves the folder as a kill there does, without a process."""
    save = TrainingRun.save

    def save_and_interrupt(run: TrainingRun) -> None:
        save(run)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(TrainingRun, "save", save_and_interrupt)
        inside(*asked, "--out", folder)
    assert (folder / STATE_FILE).exists()


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("method", METHODS)
def test_a_training_cut_off_ends_with_the_very_weights_of_an_undisturbed_one(
    inside: Command, models: Path, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The killed run keeps what it measured; the undisturbed one is given the same measurement."""
    asked = ("train", method, *ASKED, *METHODS[method])
    killed = tmp_path / "killed"
    if method == "gaussian":
        check_openmp(train_and_kill(killed, models, *asked))
    else:
        train_and_interrupt(inside, killed, *asked)
    assert not (killed / "card.json").exists()
    saved = saved_recipe(killed / STATE_FILE)
    measured = {"precision": saved["precision"], "channels_last": saved.get("channels_last", True)}
    resumed = inside(*asked, "--out", killed, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert f"going on in {saved['precision']}/{LAYOUTS[measured['channels_last']]}" in resumed.stderr
    assert "training in" not in resumed.stderr

    def autotune(recipe: Recipe, images: ImageSet, *_: object) -> AutotuneResult:
        return AutotuneResult(Trial(replace(recipe, **measured), 1.0), [])

    monkeypatch.setattr("training.autotune.autotune", autotune)
    undisturbed = inside(*asked, "--out", tmp_path / "undisturbed")
    assert undisturbed.returncode == 0, undisturbed.stderr
    cards = [read_card(folder) for folder in (killed, tmp_path / "undisturbed")]
    assert cards[0].weights_sha256 == cards[1].weights_sha256
    assert cards[0].training["final_loss"] == cards[1].training["final_loss"]


def check_openmp(complaints: str) -> None:
    """Whether OpenMP's threads sleep while they wait, where it tells."""
    if "OMP_WAIT_POLICY" in complaints:  # another OpenMP does not show its settings
        assert "OMP_WAIT_POLICY = 'PASSIVE'" in complaints


def test_measured_speed_is_printed_and_written_into_the_card(inside: Command, tmp_path: Path) -> None:
    done = inside("train", "gaussian", *ASKED, "--epochs", "1", "--out", tmp_path / "made")
    assert done.returncode == 0, done.stderr
    training = read_card(tmp_path / "made").training
    assert training["precision"] in ("float32", "bfloat16")
    assert training["compile"] is False
    execution = f"{training['precision']}/{LAYOUTS[training['channels_last']]}"
    assert re.search(rf"^training in {execution} \S+ ms a step", done.stderr, re.M)
    assert done.stdout.rstrip().endswith(training["precision"])


def test_a_run_that_was_begun_in_another_precision_is_not_continued(inside: Command, tmp_path: Path) -> None:
    asked = ("train", "gaussian", *ASKED, *METHODS["gaussian"])
    train_and_interrupt(inside, tmp_path / "made", *asked, "--precision", "float32")
    other = inside(*asked, "--precision", "bfloat16", "--out", tmp_path / "made", "--resume")
    assert other.returncode == 2
    assert "another recipe (precision differ)" in other.stderr
    measured = inside(*asked, "--out", tmp_path / "made")
    assert measured.returncode == 2
    assert "--resume continues it" in measured.stderr
    assert "training in" not in measured.stderr


def test_training_takes_no_more_threads_than_a_container_is_granted(
    inside: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(hardware, "cpu_quota", lambda _: 1.5)
    try:
        torch.set_num_threads(2)
        asked = ("train", "gaussian", *ASKED, "--epochs", "1", "--precision", "float32")
        trained = inside(*asked, "--out", tmp_path / "made")
        assert (trained.returncode, torch.get_num_threads()) == (0, 1), trained.stderr
    finally:
        torch.set_num_threads(before)


def test_cat_rs_trains_its_teacher_once_for_every_noise_level(inside: Command, tmp_path: Path) -> None:
    asked = ("train", "cat-rs", *ASKED[:4], "--epochs", "1", "--teacher-votes", "2", "--precision", "float32")
    first = inside(*asked, "--sigma", "0.5", "--steps", "1", "--out", tmp_path / "half")
    assert first.returncode == 0, first.stderr
    assert "training the teacher mnist-lenet-teacher-1: Gaussian noise, sigma = 0.25" in first.stderr
    assert "counting 2 votes of mnist-lenet-teacher-1 on each of 200 images" in first.stderr
    teacher = read_card(tmp_path / "mnist-lenet-teacher-1")
    assert (teacher.method, teacher.sigma, teacher.training["epochs"]) == ("gaussian", 0.25, 1)
    second = inside(*asked, "--sigma", "1", "--steps", "1", "--out", tmp_path / "one")
    assert second.returncode == 0, second.stderr
    assert "teacher" not in second.stderr
    shares = {read_card(tmp_path / name).training["vote_shares"] for name in ("half", "one")}
    assert len(shares) == 1
    named = inside(
        *(*asked, "--sigma", "1", "--steps", "1", "--out", tmp_path / "again"),
        *("--teacher", tmp_path / "mnist-lenet-teacher-1"),
    )
    assert named.returncode == 0, named.stderr
    assert read_card(tmp_path / "again").weights_sha256 == read_card(tmp_path / "one").weights_sha256


def test_a_teacher_of_a_method_without_one_is_refused(inside: Command, tmp_path: Path) -> None:
    done = inside("train", "gaussian", *ASKED, "--out", tmp_path / "run", "--teacher", "any")
    assert done.returncode == 2
    assert "--teacher is an option of cat-rs alone; gaussian has none." in done.stderr
    assert not (tmp_path / "run/card.json").exists()
