"""What the field does on a data set; with one that has no name here, what it does on ImageNet."""

from training.augment import Augment, crop_and_flip, resized_crop_and_flip
from training.schedule import Schedule
from training.sources import find_source
from training.sources.base import DataDefaults

SMALL = 64  # pixels; up to this side images are cropped as CIFAR's are
IMAGENET = DataDefaults(
    "resnet50", Schedule(epochs=90, lr=0.1, lr_step=30), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
)


def data_defaults(dataset: str) -> DataDefaults:
    """The field's defaults for a data set; any other one is treated like ImageNet."""
    source = find_source(dataset)
    return source.defaults if source else IMAGENET


def published_schedule(method_name: str, dataset: str) -> Schedule:
    """The steps that a method's published runs took on a data set."""
    source = find_source(dataset)
    own = source.own_schedules if source else {}
    return own.get(method_name, data_defaults(dataset).schedule)


def augmentation_for(dataset: str, size: int) -> Augment | None:
    """What the field does to a data set's images in training.

    size: side of the network's input in pixels.
    A named set's source says it. Images of one's own: padded crop and flip up to 64 pixels a side, random
    resized crop to `size` pixels and flip above.
    """
    source = find_source(dataset)
    if source:
        return source.augment
    if size <= SMALL:
        return crop_and_flip
    return lambda images_BCHW, generator: resized_crop_and_flip(images_BCHW, generator, size)
