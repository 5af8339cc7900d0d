"""ImageNet in torchvision's layout, on a small copy of it: 1000 folders with one image each."""

from pathlib import Path

import pytest
from PIL import Image

from smoothcert.errors import InvalidRequest
from training.datasets import find_dataset, load_dataset
from training.evaluation import selected_indices


def write(root: Path, classes: int, images: int = 1) -> Path:
    """train/ and val/ with a folder a WordNet id; the red of a val image is its class, mod 256."""
    for split in ("train", "val"):
        for k in range(classes):
            folder = root / split / f"n{10_000_000 + 37 * k}"
            folder.mkdir(parents=True)
            for number in range(images):
                Image.new("RGB", (40, 32), (k % 256, number, 0)).save(folder / f"ILSVRC_{number}.png")
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data") / "imagenet", 1000).parent


def test_the_thousand_labels_have_names_in_the_order_of_the_folders(root: Path) -> None:
    images = load_dataset("imagenet", "test", root, stream=True)
    assert images.class_names[:3] == ("tench", "goldfish", "great white shark")
    assert (images.class_names[134], images.class_names[517]) == ("crane bird", "crane")
    assert len(set(images.class_names)) == 1000
    assert images.input_shape == (3, 224, 224)
    assert images.labels.tolist() == list(range(1000))
    for k in (0, 5, 999):
        red = images.images_u8[k][0].float()
        assert abs(float(red.mean()) - k % 256) < 2


def test_every_hundredth_of_the_sorted_validation_set_are_the_fields_500_images() -> None:
    assert len(selected_indices(50_000, 100, None)) == 500


def test_the_folder_itself_may_be_named(root: Path) -> None:
    images = load_dataset("imagenet", "train", root / "imagenet", stream=True)
    assert (images.name, len(images)) == ("imagenet", 1000)


def test_a_part_of_it_is_refused_with_what_to_ask_for(tmp_path: Path) -> None:
    write(tmp_path, 10)
    with pytest.raises(InvalidRequest, match=r"has 10 classes and imagenet 1000; .* folder:"):
        load_dataset("imagenet", "test", tmp_path)


def test_a_missing_set_names_the_option_that_helps(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"imagenet is not in .*--data-root"):
        load_dataset("imagenet", "test", tmp_path)


def test_training_takes_its_published_set_up() -> None:
    spec = find_dataset("imagenet")
    assert spec is not None
    assert (spec.defaults.architecture, spec.defaults.schedule.epochs, spec.family) == (
        "resnet50",
        90,
        "imagenet",
    )
