import pytest
import torch
from torch import Tensor

from training.datasets.base import augmentation_for, crop_and_flip, resized_crop_and_flip


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def unique_pixels(batch: int, side: int) -> Tensor:
    """Images whose pixels all differ (1 to side * side) in channel 0, with 0 for padding only."""
    one = torch.arange(1, side * side + 1, dtype=torch.uint8).view(1, 1, side, side)
    return one.repeat(batch, 3, 1, 1)


def windows(image_CHW: Tensor, padding: int = 4) -> list[Tensor]:
    """Every crop of the padded image and its mirror image, cut out by slicing."""
    side = image_CHW.shape[-1]
    padded = torch.zeros(3, side + 2 * padding, side + 2 * padding, dtype=torch.uint8)
    padded[:, padding:-padding, padding:-padding] = image_CHW
    crops = [
        padded[:, top : top + side, left : left + side]
        for top in range(2 * padding + 1)
        for left in range(2 * padding + 1)
    ]
    return crops + [crop.flip(-1) for crop in crops]


def test_every_crop_and_flip_occurs_and_nothing_else():
    """A window of 162 equally likely ones is missing in 3 000 draws with probability below 2e-6."""
    images = unique_pixels(3000, 15)
    known = {window.numpy().tobytes() for window in windows(images[0])}
    drawn = {crop.contiguous().numpy().tobytes() for crop in crop_and_flip(images, seeded())}
    assert drawn == known
    assert len(known) == 162


def test_images_of_a_batch_stay_in_their_places():
    images = torch.arange(1, 201, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 12, 10)
    crops = crop_and_flip(images, seeded())
    assert crops.shape == images.shape
    assert crops.dtype == torch.uint8
    assert torch.equal(crops.amax((1, 2, 3)), images[:, 0, 0, 0])


def test_resized_crops_keep_the_colours_and_the_size_asked_for():
    """Red grows from left to right, green from top to bottom: both stay monotone, or are mirrored."""
    ramp = torch.arange(64, dtype=torch.uint8) * 4
    images = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64)]).repeat(400, 1, 1, 1)
    crops = resized_crop_and_flip(images, seeded(), 24).int()
    assert crops.shape == (400, 2, 24, 24)
    across, down = crops[:, 0].diff(dim=-1), crops[:, 1].diff(dim=-2)
    mirrored = (across <= 0).all((1, 2))
    assert ((across >= 0).all((1, 2)) | mirrored).all()
    assert 140 < mirrored.sum() < 260  # 200 +- 6 standard deviations
    assert (down >= 0).all()


def test_resized_crops_have_the_area_and_the_ratio_of_the_papers():
    ramp = torch.arange(256, dtype=torch.uint8)
    images = torch.stack([ramp.expand(256, 256), ramp[:, None].expand(256, 256)]).repeat(400, 1, 1, 1)
    crops = resized_crop_and_flip(images, seeded(), 64).int()
    width = (crops[:, 0].amax((1, 2)) - crops[:, 0].amin((1, 2)) + 4) / 256
    height = (crops[:, 1].amax((1, 2)) - crops[:, 1].amin((1, 2)) + 4) / 256
    area, ratio = width * height, width / height
    assert 0.07 < area.min() < 0.2
    assert 0.9 < area.max() < 1.05
    assert 0.45 < area.mean() < 0.6  # 0.54, less for the sides that were cut
    assert ratio.min() > 0.72
    assert ratio.max() < 1.39


def test_a_crop_of_the_whole_image_is_the_image(monkeypatch):
    monkeypatch.setattr("training.datasets.base.MIN_AREA", 1.0)
    monkeypatch.setattr("training.datasets.base.MAX_RATIO", 1.0)
    images = torch.randint(0, 256, (20, 3, 16, 16), dtype=torch.uint8, generator=seeded())
    for image, crop in zip(images, resized_crop_and_flip(images, seeded(), 16), strict=True):
        assert torch.equal(crop, image) or torch.equal(crop, image.flip(-1))


@pytest.mark.parametrize("dataset", ["mnist", "fashion-mnist"])
def test_mnist_and_fashion_mnist_are_not_augmented(dataset):
    assert augmentation_for(dataset, 28) is None


def test_small_images_are_cropped_with_padding_and_large_ones_resized():
    assert augmentation_for("cifar10", 32) is crop_and_flip
    assert augmentation_for("folder:icons", 32) is crop_and_flip
    large = augmentation_for("folder:photographs", 96)
    assert large(torch.zeros(2, 3, 110, 110, dtype=torch.uint8), seeded()).shape == (2, 3, 96, 96)


@pytest.mark.parametrize("dataset", ["cifar10", "folder:photographs"])
def test_the_same_generator_gives_the_same_images(dataset):
    augment = augmentation_for(dataset, 80)
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=seeded())
    assert torch.equal(augment(images, seeded(1)), augment(images, seeded(1)))
    assert not torch.equal(augment(images, seeded(1)), augment(images, seeded(2)))


@pytest.mark.parametrize("dataset", ["cifar10", "folder:photographs"])
def test_augmentation_does_not_depend_on_values(dataset):
    """A CUDA graph requires it. On the meta device tensors have no values."""
    augment = augmentation_for(dataset, 80)
    assert augment(torch.empty(4, 3, 80, 80, dtype=torch.uint8, device="meta"), None).shape == (4, 3, 80, 80)
