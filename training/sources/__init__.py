"""The named data sets, one file each; a name costs no import, as PyTorch takes seconds."""

from pkgutil import resolve_name
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.sources.base import Source

SOURCES = {
    "mnist": "training.sources.mnist:MNIST",
    "fashion-mnist": "training.sources.fashion_mnist:FASHION_MNIST",
    "cifar10": "training.sources.cifar10:CIFAR10",
}


def find_source(name: str) -> "Source | None":
    """What is known of a data set; None for one that has no name here, as a folder of images."""
    if name not in SOURCES:
        return None
    source: Source = resolve_name(SOURCES[name])
    return source
