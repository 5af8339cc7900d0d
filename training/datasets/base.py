"""What is known about a data set: how to read it, how the field trains on it, and its augmentation.

Augmentation takes whole uint8 batches on their device; each image has its own random draw. Shapes do not
depend on the data, so a CUDA graph can hold it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from training.datasets import find_dataset

Augment = Callable[[Tensor, torch.Generator | None], Tensor]  # uint8 (B, C, H, W) to uint8

PADDING = 4  # pixels
MIN_AREA = 0.08  # share of the image that a random crop keeps
MAX_RATIO = 4 / 3  # of a random crop's sides


def crop_and_flip(images_BCHW: Tensor, generator: torch.Generator | None) -> Tensor:
    """A random crop of the same size from the image padded with 4 black pixels, then a flip in half of them.

    He et al., CVPR 2016, section 4.2.
    """
    batch, _, height, width = images_BCHW.shape
    device = images_BCHW.device
    padded = functional.pad(images_BCHW, (PADDING,) * 4)
    top, left = torch.randint(0, 2 * PADDING + 1, (2, batch, 1), generator=generator, device=device)
    flip = torch.randint(0, 2, (batch, 1), generator=generator, device=device).bool()
    rows_BH = top + torch.arange(height, device=device)
    columns_W = torch.arange(width, device=device)
    columns_BW = left + torch.where(flip, columns_W.flip(0), columns_W)
    image_B11 = torch.arange(batch, device=device)[:, None, None]
    return padded.movedim(1, -1)[image_B11, rows_BH[:, :, None], columns_BW[:, None, :]].movedim(-1, 1)


def resized_crop_and_flip(images_BCHW: Tensor, generator: torch.Generator | None, size: int) -> Tensor:
    """A random crop resized (bilinear) to size x size pixels, then a flip in half of them.

    As torchvision's RandomResizedCrop: area uniform in [0.08, 1] of the image, ratio of the sides log-uniform
    in [3/4, 4/3]. A side longer than the image's is cut to it.
    """
    batch, channels = images_BCHW.shape[:2]
    device = images_BCHW.device
    area, ratio, x, y, mirror = torch.rand((5, batch), generator=generator, device=device)
    area = MIN_AREA + (1 - MIN_AREA) * area
    stretch = torch.exp((ratio - 0.5) * math.log(MAX_RATIO))  # square root of the ratio
    width = (area.sqrt() * stretch).clamp_max(1)
    height = (area.sqrt() / stretch).clamp_max(1)
    sign = torch.where(mirror < 0.5, 1.0, -1.0)
    zero = torch.zeros_like(width)
    horizontal = torch.stack([sign * width, zero, (2 * x - 1) * (1 - width)], dim=1)
    vertical = torch.stack([zero, height, (2 * y - 1) * (1 - height)], dim=1)
    grid = functional.affine_grid(
        torch.stack([horizontal, vertical], dim=1), [batch, channels, size, size], align_corners=False
    )
    crops = functional.grid_sample(images_BCHW.float(), grid, padding_mode="border", align_corners=False)
    return crops.round().to(torch.uint8)


Family = Literal["mnist", "cifar10", "imagenet"]
DELAY = 1  # epochs
SMALL = 64  # pixels: images up to this side are cropped like CIFAR-10's


@dataclass(frozen=True)
class Schedule:
    """The optimizer and its steps.

    epochs: passes over the data. batch: images drawn at once; a method cuts them into chunks, one a step.
    lr_step: epochs between drops of the learning rate by the factor lr_decay. late: delay of every drop in
    epochs; 1 in the published runs. momentum: of sgd.
    """

    epochs: int
    lr: float
    lr_step: int
    batch: int = 256
    lr_decay: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    late: int = DELAY
    optimizer: Literal["sgd", "adam"] = "sgd"

    @property
    def first_drop(self) -> int:
        """The first epoch, counted from 0, at a lower learning rate."""
        return self.lr_step + self.late

    def lr_at(self, epoch: int) -> float:
        """Learning rate of an epoch, counted from 0."""
        drops: int = max(epoch - self.late, 0) // self.lr_step
        return float(self.lr * self.lr_decay**drops)


@dataclass(frozen=True)
class DatasetDefaults:
    """The network, schedule and per-channel normalisation that the field uses on a data set."""

    architecture: str
    schedule: Schedule
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class DatasetSpec:
    """A named data set: held in memory as uint8, or class folders in torchvision's layout.

    read: called as read(root, train=..., download=...), like torchvision's classes. Its result has `data`,
        uint8 (N, H, W) or (N, H, W, C), and `targets`, N indices into class_names. It raises RuntimeError or
        OSError if files are missing.
    licence: of the images; written into every model card.
    augment: applied to each training batch; None: nothing.
    family: data set whose published method options it uses.
    method_schedules: schedules by method, where the published runs differ from `defaults`.
    folder: below the data root, or the root itself: train/ and val/ with a folder a class, in the order of
        class_names. `read` is then unused.
    """

    read: Callable[..., Any]
    class_names: tuple[str, ...]
    licence: str
    defaults: DatasetDefaults
    augment: Augment | None
    family: Family
    method_schedules: dict[str, Schedule] = field(default_factory=dict)
    folder: str | None = None


# Salman et al. 2020, on every data set.
DENOISER = Schedule(epochs=90, lr=1e-3, lr_step=30, optimizer="adam")
IMAGENET = DatasetDefaults(
    "resnet50", Schedule(epochs=90, lr=0.1, lr_step=30), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
)


def dataset_defaults(dataset: str) -> DatasetDefaults:
    """A data set's defaults; ImageNet's where it has no name in DATASETS."""
    spec = find_dataset(dataset)
    return spec.defaults if spec else IMAGENET


def published_schedule(method_name: str, dataset: str) -> Schedule:
    """The schedule of a method's published runs on a data set."""
    if method_name == "denoiser":
        return DENOISER
    spec = find_dataset(dataset)
    by_method = spec.method_schedules if spec else {}
    return by_method.get(method_name, dataset_defaults(dataset).schedule)


def augmentation_for(dataset: str, size: int) -> Augment | None:
    """The augmentation of a data set's training images. size: side of the network's input in pixels.

    Without a spec: padded crop and flip up to SMALL pixels, random resized crop and flip above.
    """
    spec = find_dataset(dataset)
    if spec:
        return spec.augment
    if size <= SMALL:
        return crop_and_flip
    return lambda images_BCHW, generator: resized_crop_and_flip(images_BCHW, generator, size)
