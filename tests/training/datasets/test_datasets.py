import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from smoothcert.errors import InvalidRequest
from training.datasets import find_dataset, load_dataset

DATA = Path(__file__).parents[2] / "data"
MNIST = DATA / "mnist-tiny"


def test_mnist_is_read_from_torchvisions_layout():
    train = load_dataset("mnist", "train", MNIST, download=False)
    test = load_dataset("mnist", "test", MNIST, download=False)
    assert train.images_u8.shape == (200, 1, 28, 28)
    assert train.images_u8.dtype == torch.uint8
    assert train.labels.bincount().tolist() == [20] * 10
    assert test.labels.bincount().tolist() == [10] * 10
    assert train.input_shape == (1, 28, 28)
    assert train.class_names == tuple("0123456789")
    assert "CC BY-SA" in train.licence
    assert (len(train), len(test)) == (200, 100)


def test_the_images_belong_to_the_labels():
    """The nearest mean training image names most test digits; by chance it would be one in ten."""
    train = load_dataset("mnist", "train", MNIST, download=False)
    test = load_dataset("mnist", "test", MNIST, download=False)
    means = torch.stack([train.images_u8[train.labels == k].float().mean(0) for k in range(10)])
    nearest = torch.cdist(test.images_u8.float().flatten(1), means.flatten(1)).argmin(1)
    assert (nearest == test.labels).float().mean() > 0.6


def test_an_existing_set_is_not_fetched_again_even_when_fetching_is_allowed():
    assert len(load_dataset("mnist", "test", MNIST)) == 100


def test_missing_files_name_the_option_that_helps(tmp_path: Path):
    with pytest.raises(InvalidRequest, match=r"mnist is not in .* fetching is switched off.*--data-root"):
        load_dataset("mnist", "train", tmp_path, download=False)


def test_a_failed_download_names_the_option_that_helps(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(
        find_dataset("mnist").read, "mirrors", ["http://127.0.0.1:9/"]
    )  # nothing listens there
    with pytest.raises(InvalidRequest, match=r"can't be fetched from here.*--data-root"):
        load_dataset("mnist", "train", tmp_path)
    assert capsys.readouterr().out == ""


def test_an_unknown_data_set_is_refused(tmp_path: Path):
    with pytest.raises(InvalidRequest, match=r"no data set 'svhn'; there are: mnist.*folder:PATH"):
        load_dataset("svhn", "train", tmp_path)


def test_a_size_is_refused_for_named_data_sets():
    with pytest.raises(InvalidRequest, match="mnist has images of one size"):
        load_dataset("mnist", "train", MNIST, size=32)


def test_cifar_comes_out_channels_first(tmp_path: Path, monkeypatch):
    """A batch file as torchvision reads it: rows of 1024 red, 1024 green, 1024 blue values."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rows = np.arange(3 * 3072, dtype=np.int64).reshape(3, 3072).astype(np.uint8)
    (folder / "test_batch").write_bytes(pickle.dumps({"data": rows, "labels": [3, 8, 0]}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": ["airplane"]}))
    monkeypatch.setattr(
        find_dataset("cifar10").read, "_check_integrity", lambda self: True
    )  # not the real sums
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    cifar = load_dataset("cifar10", "test", tmp_path, download=False)
    assert torch.equal(cifar.images_u8, torch.from_numpy(rows).view(3, 3, 32, 32))
    assert cifar.images_u8.is_contiguous()
    assert cifar.labels.tolist() == [3, 8, 0]
    assert cifar.labels.dtype == torch.int64
    assert cifar.class_names[8] == "ship"


def test_a_folder_becomes_a_data_set_of_its_own():
    images = load_dataset(f"folder:{DATA / 'folder-tiny'}", "train", MNIST, size=48)
    assert images.images_u8.shape == (12, 3, 48, 48)
    assert images.class_names == ("church", "golf-ball", "tench")
    assert images.input_shape == (3, 48, 48)
    assert images.resize == 48
