"""The data sets by name. To add one: one file in this folder with a DatasetSpec, and one line in DATASETS.

base.py: DatasetSpec, what training uses by default, augmentation. torchvision_datasets.py: the named ones.
image_set.py: loaded images, and a folder of one's own; class_tree.py finds its classes and splits.
Data sets are imported on first use, as torch takes seconds to load.
"""

from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Literal

from smoothcert.errors import InvalidRequest

if TYPE_CHECKING:
    from training.datasets.base import DatasetSpec, Family
    from training.datasets.image_set import ImageSet

Split = Literal["train", "test"]
FOLDER = "folder:"  # prefix of a path to a folder of images
DATASETS = {
    "mnist": "training.datasets.torchvision_datasets:MNIST",
    "fashion-mnist": "training.datasets.torchvision_datasets:FASHION_MNIST",
    "cifar10": "training.datasets.torchvision_datasets:CIFAR10",
    "imagenet": "training.datasets.torchvision_datasets:IMAGENET",
}


def find_dataset(name: str) -> "DatasetSpec | None":
    """What is known of a data set; None where the name is not in DATASETS, as for a folder."""
    if name not in DATASETS:
        return None
    spec: DatasetSpec = resolve_name(DATASETS[name])
    return spec


def defaults_family(name: str) -> "Family":
    """The data set whose published method options this one uses: its spec's family, else ImageNet."""
    spec = find_dataset(name)
    return spec.family if spec else "imagenet"


def load_dataset(
    name: str,
    split: Split,
    root: Path,
    *,
    download: bool = True,
    size: int | None = None,
    stream: bool | None = None,
) -> "ImageSet":
    """One split of a data set: a name in DATASETS, or folder:PATH.

    root: folder of torchvision's files, filled if `download`; unused for folders.
    size: side of a folder's images in pixels. Default: their own if all are square and alike, else 224.
    stream: leave a folder's images in their files; default: only if they do not fit into memory.
    Raises InvalidRequest: no such data set, or its files are missing and cannot be downloaded.
    """
    if name.startswith(FOLDER):
        from training.datasets.image_set import load_folder  # noqa: PLC0415

        return load_folder(name, split, size, stream=stream)
    spec = find_dataset(name)
    if spec is None:
        known = ", ".join(DATASETS)
        raise InvalidRequest(f"There is no data set {name!r}; there are: {known} and {FOLDER}PATH.")
    if size is not None:
        raise InvalidRequest(f"{name} has images of one size; only a folder's can be chosen.")
    if spec.folder is not None:
        from training.datasets.torchvision_datasets import load_named_folder  # noqa: PLC0415

        return load_named_folder(name, spec, split, root, stream=stream)
    from training.datasets.image_set import load_named  # noqa: PLC0415

    return load_named(name, spec, split, root, download=download)
