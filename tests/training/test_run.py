import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from smoothcert.errors import InvalidRequest
from smoothcert.models.checkpoint import load_network
from smoothcert.models.registry import read_card
from training.datasets.image_set import ImageSet
from training.recipe import build_recipe
from training.run import METRICS_FILE, STATE_FILE, TrainingRun, format_metrics
from training.trainer import Trainer

IMAGES = 300


@pytest.fixture(scope="module")
def images() -> ImageSet:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (IMAGES, 1, 28, 28), dtype=torch.uint8, generator=generator)
    classes = tuple("0123456789")
    return ImageSet("mnist", "train", pixels, torch.arange(IMAGES) % 10, classes, "none", (1, 28, 28))


def session(images: ImageSet, folder: Path, *, resume: bool = False, sigma: float = 0.5) -> TrainingRun:
    recipe = build_recipe("gaussian", "mnist", sigma, options={}, epochs=3, precision="float32")
    return TrainingRun(Trainer(recipe, images, torch.device("cpu")), folder, resume=resume)


def finish(unfinished: TrainingRun) -> dict[str, torch.Tensor]:
    for _ in unfinished.train():
        pass
    unfinished.export()
    return load_file(unfinished.folder / "model.safetensors")


def test_a_finished_run_is_a_checkpoint_with_metrics(images: ImageSet, tmp_path: Path) -> None:
    finish(session(images, tmp_path / "a"))
    assert read_card(tmp_path / "a").training["epochs_done"] == 3
    assert load_network(tmp_path / "a") is not None
    lines = (tmp_path / "a" / METRICS_FILE).read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["epoch", "0", "1", "2"]
    assert not (tmp_path / "a" / STATE_FILE).exists()


def test_a_run_killed_in_the_middle_resumes_to_the_same_weights(images: ImageSet, tmp_path: Path) -> None:
    undisturbed = finish(session(images, tmp_path / "undisturbed"))
    killed = session(images, tmp_path / "killed")
    for steps, _ in enumerate(killed.train(), 1):  # two steps an epoch; the state was saved after the third
        if steps == 4:
            break
    weights = finish(session(images, tmp_path / "killed", resume=True))
    assert all(torch.equal(weights[name], undisturbed[name]) for name in undisturbed)
    assert len((tmp_path / "killed" / METRICS_FILE).read_text().splitlines()) == 4


def stopped_after(steps: int, unfinished: TrainingRun) -> TrainingRun:
    for done, _ in enumerate(unfinished.train(), 1):
        if done == steps:
            break
    return unfinished


def test_metrics_of_a_resumed_run_equal_those_of_an_uninterrupted_one(
    images: ImageSet, tmp_path: Path
) -> None:
    finish(session(images, tmp_path / "undisturbed"))
    stopped_after(4, session(images, tmp_path / "killed"))
    finish(session(images, tmp_path / "killed", resume=True))
    whole, resumed = (read_card(tmp_path / name).training for name in ("undisturbed", "killed"))
    measured = {"seconds", "peak_memory_mib"}
    assert {k: v for k, v in whole.items() if k not in measured} == {
        k: v for k, v in resumed.items() if k not in measured
    }
    rows = [
        [line.split("\t")[:3] for line in (tmp_path / name / METRICS_FILE).read_text().splitlines()]
        for name in ("undisturbed", "killed")
    ]
    assert rows[0] == rows[1]


def test_a_run_killed_before_its_export_keeps_its_metrics(images: ImageSet, tmp_path: Path) -> None:
    for _ in session(images, tmp_path / "a").train():
        pass
    resumed = session(images, tmp_path / "a", resume=True)
    held = 1 << 20  # MiB, more than any machine has
    resumed.trainer.records[1] = replace(resumed.trainer.records[1], peak_memory_mib=held)
    finish(resumed)
    training = read_card(tmp_path / "a").training
    assert training["final_loss"] == resumed.trainer.records[-1].loss
    assert training["peak_memory_mib"] == held


def test_metrics_newer_than_the_state_are_dropped(images: ImageSet, tmp_path: Path) -> None:
    killed = stopped_after(3, session(images, tmp_path / "a"))  # one epoch and a step
    ahead = [*killed.trainer.records, replace(killed.trainer.records[0], epoch=1)]
    (tmp_path / "a" / METRICS_FILE).write_text(format_metrics(ahead))
    assert [r.epoch for r in session(images, tmp_path / "a", resume=True).trainer.records] == [0]


def test_a_run_is_neither_overwritten_nor_continued_by_another(images: ImageSet, tmp_path: Path) -> None:
    for steps, _ in enumerate(session(images, tmp_path / "a").train(), 1):
        if steps == 3:
            break
    with pytest.raises(InvalidRequest, match="--resume continues it"):
        session(images, tmp_path / "a")
    with pytest.raises(InvalidRequest, match="belongs to another recipe"):
        session(images, tmp_path / "a", resume=True, sigma=0.25)
    finish(session(images, tmp_path / "a", resume=True))
    with pytest.raises(InvalidRequest, match="finished checkpoint"):
        session(images, tmp_path / "a", resume=True)


def test_a_folder_that_cannot_name_a_model_is_refused(images: ImageSet, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="becomes the model's name"):
        session(images, tmp_path / "My Model")


def test_a_folder_stays_locked_until_the_checkpoint_is_exported(images: ImageSet, tmp_path: Path) -> None:
    first, second = session(images, tmp_path / "a"), session(images, tmp_path / "a")
    running = first.train()
    next(running)
    with pytest.raises(InvalidRequest, match="being written by another training"):
        session(images, tmp_path / "a")
    with pytest.raises(InvalidRequest, match="being written by another training"):
        next(second.train())
    for _ in running:
        pass
    with pytest.raises(InvalidRequest, match="being written by another training"):
        next(second.train())
    first.export()
    with pytest.raises(InvalidRequest, match="finished checkpoint"):
        next(second.train())
    assert load_network(tmp_path / "a") is not None


def test_a_folder_that_cannot_be_written_is_refused_before_training(images: ImageSet, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InvalidRequest, match="can't be written"):
            session(images, folder)


@pytest.mark.parametrize(
    "changes",
    [
        lambda one: replace(one, labels=one.labels.roll(1)),
        lambda one: replace(one, images_u8=one.images_u8 ^ 1),
        lambda one: replace(one, class_names=tuple("1023456789")),
        lambda one: replace(one, images_u8=one.images_u8[:-1], labels=one.labels[:-1]),
    ],
)
def test_a_run_is_not_resumed_with_other_images(
    images: ImageSet, tmp_path: Path, changes: Callable[[ImageSet], ImageSet]
) -> None:
    stopped_after(3, session(images, tmp_path / "a"))
    with pytest.raises(InvalidRequest, match="belongs to other images"):
        session(changes(images), tmp_path / "a", resume=True)
    finish(session(images, tmp_path / "a", resume=True))


def test_a_state_without_a_digest_of_images_is_resumed(images: ImageSet, tmp_path: Path) -> None:
    """Written by version 0.1."""
    stopped_after(3, session(images, tmp_path / "a"))
    state = tmp_path / "a" / STATE_FILE
    with safe_open(state, framework="pt") as file:
        metadata = {name: value for name, value in file.metadata().items() if name != "data"}
    save_file(load_file(state), state, metadata)
    finish(session(images, tmp_path / "a", resume=True))


@pytest.mark.parametrize("retired", [{"quick": True}, {"quick": True, "narrow_kernels": False}])
def test_a_state_with_retired_recipe_fields_is_resumed(
    images: ImageSet, tmp_path: Path, retired: dict[str, bool]
) -> None:
    """As written by versions 0.1 and 0.2, which had other implementations of some layers."""
    stopped_after(3, session(images, tmp_path / "a"))
    state = tmp_path / "a" / STATE_FILE
    with safe_open(state, framework="pt") as file:
        metadata = file.metadata()
    metadata["recipe"] = json.dumps(json.loads(metadata["recipe"]) | retired)
    save_file(load_file(state), state, metadata)
    finish(session(images, tmp_path / "a", resume=True))
