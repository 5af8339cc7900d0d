"""All that is known of a named data set: where its images come from, how the field trains on them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from training.augment import Augment
from training.schedule import Schedule

Family = Literal["mnist", "cifar10", "imagenet"]


@dataclass(frozen=True)
class DataDefaults:
    """What the field uses on one data set."""

    architecture: str
    schedule: Schedule
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Source:
    """One data set, in memory as uint8.

    read: called as read(root, train=..., download=...), as torchvision's are; what it returns has `data`,
        uint8 (N, H, W) or (N, H, W, C), and `targets`, N indices of class_names. Raises RuntimeError or
        OSError where the files are absent.
    licence: of the images; it goes into every card.
    defaults: network, schedule and normalisation that the field uses.
    augment: what training does to a batch, if anything.
    family: whose published options of the methods it takes.
    own_schedules: by method, where its published runs took other steps than the defaults.
    """

    read: Callable[..., Any]
    class_names: tuple[str, ...]
    licence: str
    defaults: DataDefaults
    augment: Augment | None
    family: Family
    own_schedules: dict[str, Schedule] = field(default_factory=dict)
