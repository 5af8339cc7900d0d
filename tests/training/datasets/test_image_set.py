from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from smoothcert.errors import InvalidRequest
from training.datasets import load_dataset
from training.datasets.base import Schedule
from training.datasets.image_set import ImageFiles, ImageSet
from training.recipe import Recipe, build_recipe
from training.run import restore_state, save_state
from training.trainer import Trainer

CPU = torch.device("cpu")
IMAGES = 24
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """24 images of 40x40 in two classes; one of each is held out."""
    draw = np.random.default_rng(0)
    for number in range(IMAGES):
        folder = tmp_path / "photos" / "train" / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(folder / f"{number:02}.png")
    return tmp_path / "photos"


def images(photos: Path, *, stream: bool) -> ImageSet:
    return load_dataset(f"folder:{photos}", "train", photos, size=16, stream=stream)


def recipe(micro_batch: int | None = None) -> Recipe:
    made = build_recipe("consistency", "folder:photos", 0.25, options={}, channels=3, arch="resnet20")
    return replace(made, schedule=Schedule(epochs=2, lr=0.01, lr_step=1, batch=16), micro_batch=micro_batch)


def trained(trainer: Trainer) -> dict[str, torch.Tensor]:
    for _ in trainer.steps():
        pass
    return trainer.network.state_dict()


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("micro_batch", [None, 3])
def test_training_from_files_gives_the_weights_of_training_from_memory(
    photos: Path, micro_batch: int | None
) -> None:
    from_memory = trained(Trainer(recipe(micro_batch), images(photos, stream=False), CPU))
    assert_same(trained(Trainer(recipe(micro_batch), images(photos, stream=True), CPU)), from_memory)


def test_a_streamed_run_resumes_in_the_middle_of_an_epoch_bit_for_bit(photos: Path, tmp_path: Path) -> None:
    undisturbed = trained(Trainer(recipe(), images(photos, stream=True), CPU))
    killed = Trainer(recipe(), images(photos, stream=True), CPU)
    steps = killed.steps()
    list(islice(steps, 3))
    save_state(killed, tmp_path / "state")
    resumed = Trainer(recipe(), images(photos, stream=True), CPU)
    restore_state(resumed, tmp_path / "state")
    assert resumed.position.step == 3
    assert_same(trained(resumed), undisturbed)


def test_batches_come_in_the_order_asked_for(photos: Path) -> None:
    files = images(photos, stream=True).images_u8
    assert isinstance(files, ImageFiles)
    order = torch.randperm(len(files), generator=torch.Generator().manual_seed(1))
    together = torch.cat(list(files.batches(order.split(5))))
    assert torch.equal(together, torch.stack([files[index] for index in order.tolist()]))


def test_a_file_that_is_not_an_image_is_named_when_training_reaches_it(photos: Path) -> None:
    bad = photos / "train" / "cat" / "00.png"
    streamed = images(photos, stream=True)
    bad.write_text("not an image")
    with pytest.raises(InvalidRequest, match=r"00\.png can't be used"):
        trained(Trainer(recipe(), streamed, CPU))
