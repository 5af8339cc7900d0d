"""What must hold for every data set in DATASETS."""

from dataclasses import FrozenInstanceError
from typing import get_args

import pytest
import torch

from smoothcert.models.architectures import build_network
from smoothcert.schemas.limits import NAME
from training.datasets import DATASETS, defaults_family, find_dataset
from training.datasets.base import IMAGENET, DatasetSpec, Family, augmentation_for, dataset_defaults


def source(name: str) -> DatasetSpec:
    found = find_dataset(name)
    assert found is not None
    return found


@pytest.mark.parametrize("name", DATASETS)
def test_a_spec_has_what_a_card_needs_and_is_frozen(name: str) -> None:
    known = source(name)
    assert NAME.fullmatch(name)
    assert len(set(known.class_names)) == len(known.class_names) > 1
    assert known.licence
    assert callable(known.read)
    with pytest.raises(FrozenInstanceError):
        known.licence = "none"  # type: ignore[misc]


@pytest.mark.parametrize("name", DATASETS)
def test_the_default_network_fits_channels_and_classes(name: str) -> None:
    known = source(name)
    assert len(known.defaults.mean) == len(known.defaults.std)
    network = build_network(
        known.defaults.architecture, len(known.class_names), known.defaults.mean, known.defaults.std
    )
    weights = [value for value in network.state_dict().values() if value.ndim > 1]
    assert weights[0].shape[1] == len(known.defaults.mean)
    assert weights[-1].shape[0] == len(known.class_names)


@pytest.mark.parametrize("name", DATASETS)
def test_training_uses_the_spec(name: str) -> None:
    known = source(name)
    assert dataset_defaults(name) is known.defaults
    assert augmentation_for(name, 32) is known.augment
    assert defaults_family(name) == known.family
    assert known.family in get_args(Family)


@pytest.mark.parametrize("name", [name for name in DATASETS if source(name).augment])
def test_augmentation_keeps_shape_and_type(name: str) -> None:
    augment = source(name).augment
    assert augment
    images = torch.randint(0, 256, (4, len(source(name).defaults.mean), 32, 32), dtype=torch.uint8)
    augmented = augment(images, torch.Generator())
    assert (augmented.shape, augmented.dtype) == (images.shape, torch.uint8)


def test_other_data_sets_are_trained_like_imagenet() -> None:
    assert find_dataset("folder:pictures") is None
    assert dataset_defaults("folder:pictures") is IMAGENET
    assert defaults_family("folder:pictures") == "imagenet"
