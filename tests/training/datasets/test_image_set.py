import os
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from smoothcert.errors import InvalidRequest
from smoothcert.images.decode import read_image
from smoothcert.schemas.card import Preprocessing
from training.datasets import FOLDER, Split, load_dataset
from training.datasets.base import Schedule
from training.datasets.image_set import DecodeFormat, ImageFiles, ImageSet, load_folder
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


TINY = Path(__file__).parents[2] / "data" / "folder-tiny"


def load(root: Path, split: Split, size: int | None, *, stream: bool | None = None) -> ImageSet:
    return load_folder(f"{FOLDER}{root}", split, size, stream=stream)


def write(path: Path, value: int = 128, size: tuple[int, int] = (20, 20), mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value, 0, 255 - value)).save(path)


def flat_tree(root: Path, count: int = 12) -> Path:
    """Two classes; image i of "a" is of grey value i, of "b" 100 + i."""
    for label, name in enumerate("ab"):
        for i in range(count):
            write(root / name / f"{i:02}.png", 100 * label + i)
    return root


def test_train_and_val_folders_are_the_splits():
    train, test = load(TINY, "train", 64), load(TINY, "test", 64)
    assert train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert train.images_u8.shape == (12, 3, 64, 64)
    assert train.class_names == test.class_names == ("church", "golf-ball", "tench")


def test_a_test_folder_is_preferred_to_a_val_folder(tmp_path: Path):
    flat_tree(tmp_path / "train")
    flat_tree(tmp_path / "val", 3)
    flat_tree(tmp_path / "test", 5)
    assert len(load(tmp_path, "test", None).labels) == 10


@pytest.mark.parametrize("below", ["", "train"])
def test_without_a_test_folder_every_tenth_image_of_a_class_is_held_out(tmp_path: Path, below: str):
    flat_tree(tmp_path / below)
    train, test = load(tmp_path, "train", None), load(tmp_path, "test", None)
    held_out = [1, 11, 101, 111]
    assert test.images_u8[:, 0, 0, 0].tolist() == held_out
    assert test.labels.tolist() == [0, 0, 1, 1]
    kept = [100 * label + i for label in range(2) for i in range(12)]
    assert train.images_u8[:, 0, 0, 0].tolist() == [value for value in kept if value not in held_out]


def test_a_class_with_one_image_is_trained_on(tmp_path: Path):
    flat_tree(tmp_path, 1)
    assert load(tmp_path, "train", None).labels.tolist() == [0, 1]


def test_grey_images_of_one_size_are_kept_as_they_are(tmp_path: Path):
    folder = load(flat_tree(tmp_path), "train", None)
    assert folder.images_u8.shape == (20, 1, 20, 20)
    assert folder.input_shape == (1, 20, 20)


def test_one_colour_image_makes_the_whole_set_rgb(tmp_path: Path):
    flat_tree(tmp_path, 300)
    write(tmp_path / "b" / "201b.png", mode="RGB")
    folder = load(tmp_path, "train", None)
    assert folder.input_shape == (3, 20, 20)
    assert "201b.png" in folder.summary
    (tmp_path / "b" / "201b.png").rename(tmp_path / "b" / "999.png")
    folder = load(tmp_path, "train", None)
    assert folder.images_u8[-1, :, 0, 0].tolist() == [128, 0, 127]


def test_images_of_many_sizes_become_imagenets_unless_a_size_is_chosen(tmp_path: Path):
    write(flat_tree(tmp_path) / "b" / "99.png", size=(30, 20))
    train, test = load(tmp_path, "train", None), load(tmp_path, "test", None)
    assert train.input_shape == test.input_shape == (1, 224, 224)
    assert train.images_u8.shape[-2:] == (256, 256)  # to be cropped at random
    assert test.images_u8.shape[-2:] == (224, 224)
    assert train.resize == test.resize == 256
    assert load(tmp_path, "train", 32).images_u8.shape[-2:] == (32, 32)


def test_test_images_are_decoded_as_the_service_decodes_them():
    path = TINY / "val" / "church" / "church-1.jpg"
    with Image.open(path) as image:
        assert image.size == (72, 60)
    card = DecodeFormat((3, 70, 70), Preprocessing(mode="RGB", resize=80, mean=(0.0,), std=(1.0,)))
    served = read_image(path.read_bytes(), card).to_array()
    assert np.array_equal(load(TINY, "test", 70).images_u8[1].numpy(), served)


def test_classes_may_have_folders_of_their_own_and_other_files_are_left_out(tmp_path: Path):
    flat_tree(tmp_path)
    write(tmp_path / "a" / "deeper" / "one.png", 200)
    (tmp_path / "a" / "notes.txt").write_text("not an image")
    (tmp_path / "a" / "._00.png").write_bytes(b"what some systems leave behind")
    (tmp_path / "empty").mkdir()
    folder = load(tmp_path, "train", None)
    assert folder.class_names == ("a", "b")
    assert 200 in folder.images_u8[:, 0, 0, 0].tolist()


def test_a_set_larger_than_memory_stays_in_its_files(monkeypatch: pytest.MonkeyPatch):
    in_memory = load(TINY, "train", 64).images_u8
    assert isinstance(in_memory, torch.Tensor)
    monkeypatch.setattr("training.datasets.image_set.MAX_IN_MEMORY", 1000)
    streamed = load(TINY, "train", 64).images_u8
    assert isinstance(streamed, ImageFiles)
    assert streamed.shape == in_memory.shape
    assert torch.equal(streamed.load_all(), in_memory)
    assert isinstance(load(TINY, "train", 64, stream=False).images_u8, torch.Tensor)


def test_a_damaged_image_is_named(tmp_path: Path):
    flat_tree(tmp_path)
    whole = (TINY / "val" / "church" / "church-1.jpg").read_bytes()
    (tmp_path / "a" / "00.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidRequest, match=r"00\.jpg can't be used: .*truncated"):
        load(tmp_path, "train", 20)


def test_a_file_that_only_claims_to_be_an_image_is_named(tmp_path: Path):
    (flat_tree(tmp_path) / "a" / "00.png").write_text("not an image")
    with pytest.raises(InvalidRequest, match=r"00\.png"):
        load(tmp_path, "train", 20)


def test_a_folder_without_classes_is_refused(tmp_path: Path):
    write(tmp_path / "only" / "one.png")
    with pytest.raises(InvalidRequest, match="needs two or more folders of images, one a class; it has 1"):
        load(tmp_path, "train", None)


def test_a_missing_folder_is_refused(tmp_path: Path):
    with pytest.raises(InvalidRequest, match="There is no folder"):
        load(tmp_path / "nowhere", "train", None)


def digest(root: Path, *, stream: bool = False) -> str:
    return load_dataset(f"folder:{root}", "train", root, stream=stream).digest


def test_the_digest_of_a_folder_is_of_classes_labels_and_contents(tmp_path: Path):
    root = flat_tree(tmp_path)
    before = digest(root)
    assert digest(root, stream=True) == before
    for path in root.rglob("*.png"):
        os.utime(path, (1, 1))
    assert digest(root) == before
    seen = {before}
    for change in (
        lambda: write(root / "a" / "00.png", 99),  # of the same size and name
        lambda: write(root / "a" / "99.png", 99),
        lambda: (root / "a" / "02.png").rename(root / "b" / "02b.png"),
        lambda: [(root / one).rename(root / other) for one, other in (("a", "x"), ("b", "a"), ("x", "b"))],
        lambda: (root / "a").rename(root / "aa"),
    ):
        change()
        assert digest(root) not in seen
        seen.add(digest(root))


def test_the_listing_of_a_folder_changes_with_labels_and_files(tmp_path: Path):
    root = flat_tree(tmp_path)

    def listing() -> str | None:
        return load_dataset(f"folder:{root}", "test", root).listing

    before = listing()
    (root / "a").rename(root / "x")
    assert listing() != before
    (root / "x").rename(root / "a")
    assert listing() == before
    write(root / "a" / "00b.png")
    assert listing() != before
