"""MNIST, Fashion-MNIST and CIFAR-10, read by torchvision, and ImageNet in its layout."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torchvision import datasets
from torchvision.models import ResNet50_Weights

from smoothcert.errors import InvalidRequest
from training.datasets import FOLDER, Split
from training.datasets.base import IMAGENET as IMAGENET_DEFAULTS
from training.datasets.base import (
    DatasetDefaults,
    DatasetSpec,
    Schedule,
    crop_and_flip,
    resized_crop_and_flip,
)
from training.datasets.image_set import ImageSet, load_folder

SIDE = 224  # pixels of ImageNet's images

MNIST = DatasetSpec(
    read=datasets.MNIST,
    class_names=tuple("0123456789"),
    licence="MNIST: Y. LeCun, C. Cortes and C. Burges, CC BY-SA 3.0",
    defaults=DatasetDefaults("lenet", Schedule(epochs=90, lr=0.01, lr_step=30), (0.0,), (1.0,)),
    augment=None,
    family="mnist",
    method_schedules={"cat-rs": Schedule(epochs=150, lr=0.01, lr_step=50)},
)
FASHION_MNIST = replace(
    MNIST,
    read=datasets.FashionMNIST,
    class_names=(
        *("T-shirt", "trousers", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
    ),
    licence="Fashion-MNIST: Zalando SE, MIT",
)
CIFAR10 = DatasetSpec(
    read=datasets.CIFAR10,
    class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    licence="CIFAR-10: A. Krizhevsky, V. Nair and G. Hinton, no licence stated",
    defaults=DatasetDefaults(
        "resnet110",
        Schedule(epochs=150, lr=0.1, lr_step=50),
        (0.4914, 0.4822, 0.4465),
        (0.2023, 0.1994, 0.2010),
    ),
    augment=crop_and_flip,
    family="cifar10",
    method_schedules={  # its authors' code
        "macer": Schedule(epochs=440, lr=0.01, lr_step=200, batch=64, weight_decay=5e-4, late=0),
    },
)


def crop_to_input(images_BCHW: Tensor, generator: torch.Generator | None) -> Tensor:
    """A random resized crop to 224 pixels and a flip; smaller images keep their size."""
    return resized_crop_and_flip(images_BCHW, generator, min(images_BCHW.shape[-1], SIDE))


IMAGENET = DatasetSpec(
    read=datasets.ImageNet,
    class_names=tuple(ResNet50_Weights.IMAGENET1K_V1.meta["categories"]),  # by sorted WordNet id
    licence="ImageNet: its images belong to their owners; for research and education only",
    defaults=IMAGENET_DEFAULTS,
    augment=crop_to_input,
    family="imagenet",
    folder="imagenet",
)


def load_named_folder(
    name: str, spec: DatasetSpec, split: Split, root: Path, *, stream: bool | None
) -> ImageSet:
    """One split of a named data set whose images lie in class folders; see load_dataset.

    Raises InvalidRequest: no such folders below `root`, or not as many as the set has classes.
    """
    assert spec.folder is not None
    path = root / spec.folder if (root / spec.folder).is_dir() else root
    if not (path / "train").is_dir():
        raise InvalidRequest(
            f"{name} is not in {root} and can't be fetched: name the folder with its train/ and val/, "
            "a folder a class in each, with --data-root."
        )
    images = load_folder(f"{FOLDER}{path}", split, SIDE, stream=stream)
    found, known = len(images.class_names), len(spec.class_names)
    if found != known:
        raise InvalidRequest(
            f"{path} has {found} classes and {name} {known}; a part of it is a data set of its own: "
            f"folder:{path}."
        )
    return replace(images, name=name, class_names=spec.class_names, licence=spec.licence)
