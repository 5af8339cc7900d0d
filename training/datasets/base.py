"""What is known about a data set: how to read it, and how the field trains on it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from training.datasets import find_dataset
from training.datasets.augment import Augment, crop_and_flip, resized_crop_and_flip

Family = Literal["mnist", "cifar10", "imagenet"]
DELAY = 1  # epochs
SMALL = 64  # pixels: images up to this side are cropped like CIFAR-10's


@dataclass(frozen=True)
class Schedule:
    """SGD and its steps.

    epochs: passes over the data. batch: images drawn at once; a method cuts them into chunks, one a step.
    lr_step: epochs between drops of the learning rate by the factor lr_decay. late: delay of every drop in
    epochs; 1 in the published runs.
    """

    epochs: int
    lr: float
    lr_step: int
    batch: int = 256
    lr_decay: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    late: int = DELAY

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
    """A named data set, held in memory as uint8.

    read: called as read(root, train=..., download=...), like torchvision's classes. Its result has `data`,
        uint8 (N, H, W) or (N, H, W, C), and `targets`, N indices into class_names. It raises RuntimeError or
        OSError if files are missing.
    licence: of the images; written into every model card.
    augment: applied to each training batch; None: nothing.
    family: data set whose published method options it uses.
    method_schedules: schedules by method, where the published runs differ from `defaults`.
    """

    read: Callable[..., Any]
    class_names: tuple[str, ...]
    licence: str
    defaults: DatasetDefaults
    augment: Augment | None
    family: Family
    method_schedules: dict[str, Schedule] = field(default_factory=dict)


IMAGENET = DatasetDefaults(
    "resnet50", Schedule(epochs=90, lr=0.1, lr_step=30), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
)


def dataset_defaults(dataset: str) -> DatasetDefaults:
    """A data set's defaults; ImageNet's where it has no name in DATASETS."""
    spec = find_dataset(dataset)
    return spec.defaults if spec else IMAGENET


def published_schedule(method_name: str, dataset: str) -> Schedule:
    """The schedule of a method's published runs on a data set."""
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
