"""Data sets copied to the GPU machine: NAME.npz (MNIST kinds), or CIFAR-10 as pieces.py unpacks it."""

from pathlib import Path

import numpy as np
import pieces
import torch

from training.datasets import Split, find_dataset
from training.datasets.image_set import ImageSet


def load_images(dataset: str, split: Split, data: Path) -> ImageSet:
    """One split. Of CIFAR-10's test split only every 20th image is copied; the others are black."""
    if dataset == "cifar10":
        images, labels = pieces.load(data, split)
    else:
        with np.load(data / f"{dataset}.npz") as arrays:
            images, labels = arrays[f"{split}_images"][:, None], arrays[f"{split}_labels"]
    spec = find_dataset(dataset)
    assert spec, dataset
    return ImageSet(
        dataset,
        split,
        torch.from_numpy(images),
        torch.from_numpy(labels.astype(np.int64)),
        spec.class_names,
        spec.licence,
        images.shape[1:],
    )
