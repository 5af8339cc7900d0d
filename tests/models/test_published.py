"""The field's checkpoints become the same weights, however wrapped; other files say what they are."""

import argparse
import json
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from smoothcert.errors import BadModelFile
from smoothcert.models.added import AddRequest, read_model, save_model
from smoothcert.models.architectures import build_network
from smoothcert.models.checkpoint import load_network
from smoothcert.models.published import fit, plain_architecture, read_published
from smoothcert.models.registry import BUNDLED, OWN, TORCHVISION, WEIGHTS_FILE, read_card

RESNET = "cifar10-resnet110-consistency-0.50"
LENET = "mnist-lenet-gaussian-0.50"


def published_name(name: str) -> str:
    """A tensor of our CIFAR network as the field names it."""
    for ours, theirs in (
        ("1.stem_bn.", "bn1."),
        ("1.stem.", "conv1."),
        ("1.stages.0", "layer1"),
        ("1.stages.1", "layer2"),
        ("1.stages.2", "layer3"),
        ("shortcut", "downsample"),
        ("1.head.", "fc."),
    ):
        name = name.replace(ours, theirs)
    return name


@pytest.fixture(scope="module")
def body() -> dict[str, Tensor]:
    """The weights of the bundled ResNet-110 under the field's names, without prefixes."""
    bundled = load_file(BUNDLED / RESNET / WEIGHTS_FILE)
    return {published_name(name): value for name, value in bundled.items()}


@pytest.mark.parametrize(
    ("prefix", "key"),
    [
        ("1.", "state_dict"),
        ("1.module.", "state_dict"),
        ("module.1.", "net"),
        ("module.", "model"),
        ("_orig_mod.module.1.", None),
        ("module._orig_mod.1.module.", "state_dict"),
        ("", None),
    ],
)
def test_a_checkpoint_as_published_becomes_the_same_weights(
    tmp_path: Path, prefix: str, key: str | None
) -> None:
    torch.manual_seed(3)
    cifar10 = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    network = build_network("resnet20", 10, *cifar10).eval()
    weights = {prefix + published_name(name): value for name, value in network.state_dict().items()}
    content: Any = weights
    if key is not None:
        content = {"epoch": 90, "arch": "cifar_resnet20", key: weights, "optimizer": {"state": {}}}
    torch.save(content, tmp_path / "checkpoint.pth.tar")
    model = read_model(tmp_path / "checkpoint.pth.tar", AddRequest("again", 0.5, "resnet20"))
    added = model.network.state_dict()
    assert all(torch.equal(added[name], value) for name, value in network.state_dict().items())
    assert (model.card.preprocessing.mean == cifar10[0]) == ("1." in prefix)  # the field's first layer


def test_an_added_checkpoint_has_the_digest_and_the_scores_of_the_bundled_one(
    tmp_path: Path, body: dict[str, Tensor]
) -> None:
    torch.save(
        {"arch": "cifar_resnet110", "state_dict": {f"1.{n}": v for n, v in body.items()}}, tmp_path / "c.pth"
    )
    card = save_model(read_model(tmp_path / "c.pth", AddRequest("again", 0.5)), tmp_path / "again")
    bundled = read_card(BUNDLED / RESNET)
    assert card.classifier_sha256_in("float32") == bundled.classifier_sha256_in("float32")
    images_BCHW = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        ours, theirs = (
            load_network(tmp_path / "again")(images_BCHW),
            load_network(BUNDLED / RESNET)(images_BCHW),
        )
    assert torch.equal(ours, theirs)


def test_imagenet_checkpoints_are_torchvisions(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_network("resnet18", 7, (0.0,) * 3, (1.0,) * 3)
    weights = {f"1.module.{name.removeprefix('1.')}": value for name, value in network.state_dict().items()}
    torch.save({"arch": "resnet18", "state_dict": weights}, tmp_path / "imagenet.pth.tar")
    model = read_model(tmp_path / "imagenet.pth.tar", AddRequest("imagenet", 0.25))
    assert (model.card.architecture, model.card.input_shape, len(model.card.labels)) == (
        "resnet18",
        (3, 224, 224),
        7,
    )
    assert model.card.preprocessing.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("names", ["mean std", "means sds"])
def test_a_first_layer_that_is_in_the_file_is_read(
    tmp_path: Path, body: dict[str, Tensor], names: str
) -> None:
    mean, std = (f"0.{name}" for name in names.split())
    weights = {mean: torch.tensor([0.5, 0.25, 0.125]), std: torch.tensor([0.5, 1.0, 2.0])}
    save_file(weights | {f"1.{name}": value for name, value in body.items()}, tmp_path / "w.safetensors")
    card = read_model(tmp_path / "w.safetensors", AddRequest("again", 0.5, "resnet110")).card
    assert (card.preprocessing.mean, card.preprocessing.std) == ((0.5, 0.25, 0.125), (0.5, 1.0, 2.0))


def test_other_names_of_a_lenet_are_known(tmp_path: Path) -> None:
    bundled = load_file(BUNDLED / LENET / WEIGHTS_FILE)
    names = {"1.features.0": "conv1", "1.features.3": "conv2", "1.head.1": "fc1", "1.head.3": "fc2"}
    weights = {f"{names[n.rpartition('.')[0]]}.{n.rpartition('.')[2]}": v for n, v in bundled.items()}
    torch.save(weights, tmp_path / "lenet.pt")
    card = save_model(
        read_model(tmp_path / "lenet.pt", AddRequest("lenet", 0.5, "lenet")), tmp_path / "lenet"
    )
    assert card.weights_sha256 == read_card(BUNDLED / LENET).weights_sha256
    assert card.preprocessing.mode == "L"


def test_weights_of_another_network_are_described(tmp_path: Path, body: dict[str, Tensor]) -> None:
    torch.save(body, tmp_path / "w.pt")
    with pytest.raises(BadModelFile, match=r"do not fit resnet20: .*unknown"):
        read_model(tmp_path / "w.pt", AddRequest("x", 0.5, "resnet20"))
    with pytest.raises(BadModelFile, match="torchvision has no classifier 'resnet19'"):
        plain_architecture("torchvision:resnet19")


def test_counters_that_old_checkpoints_lack_are_filled_in(body: dict[str, Tensor], tmp_path: Path) -> None:
    old = {name: value for name, value in body.items() if not name.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pt")
    network = build_network("resnet110", 10, (0.0,) * 3, (1.0,) * 3)
    weights = fit(read_published(tmp_path / "old.pt"), network[1].state_dict(), "resnet110")  # type: ignore[index]
    assert weights.keys() == network[1].state_dict().keys()  # type: ignore[index]


def test_the_names_that_the_service_knows_are_those_that_can_be_built() -> None:
    import torchvision

    from smoothcert.models.architectures import ARCHITECTURES

    assert set(torchvision.models.list_models(module=torchvision.models)) == TORCHVISION
    assert tuple(ARCHITECTURES) == OWN


class Foreign(nn.Module):
    """A module of the user's own code."""


def script(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated
        torch.jit.script(nn.Linear(2, 2)).save(str(path))


def arrays(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=np.zeros(3))


def program(path: Path) -> None:
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),)), path)


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("readme.txt", "hello")


def cut(path: Path) -> None:
    torch.save({"a": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:-100])


FILES = {
    "empty": (lambda p: p.write_bytes(b""), "is empty"),
    "html": (lambda p: p.write_text("\n<!DOCTYPE html><html>log in</html>"), "is an HTML page"),
    "json": (lambda p: p.write_text(json.dumps({"a": 1})), "is a JSON file"),
    "lfs": (lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\noid x"), "Git LFS"),
    "hdf5": (lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100)), "HDF5"),
    "gzip": (lambda p: p.write_bytes(b"\x1f\x8b" + bytes(50)), "gzip"),
    "text": (lambda p: p.write_text("hello"), "no file of a model"),
    "module": (lambda p: torch.save(nn.Linear(2, 2), p), r"whole pickled module.*state_dict\(\)"),
    "own module": (lambda p: torch.save(Foreign(), p), "pickled module|Python objects"),
    "namespace": (
        lambda p: torch.save({"args": argparse.Namespace(lr=1), "state_dict": {"a": torch.zeros(1)}}, p),
        r"argparse\.Namespace",
    ),
    "pickle": (lambda p: p.write_bytes(pickle.dumps({"a": np.zeros(3)})), "is a Python pickle"),
    "plain pickle": (lambda p: p.write_bytes(pickle.dumps({"a": 1})), "is a Python pickle"),
    "torchscript": (script, "TorchScript"),
    "pt2": (program, r"torch\.export program"),
    "zip": (archive, "zip archive of 'readme.txt'"),
    "npz": (arrays, "NumPy"),
    "cut off": (cut, "damaged"),
    "no weights": (lambda p: torch.save({"epoch": 3}, p), "holds no state dict but 'epoch'"),
    "a tensor": (lambda p: torch.save(torch.zeros(3), p), "holds a Tensor"),
    "folder": (lambda p: p.mkdir(), "is a folder"),
    "absent": (lambda p: None, "is not there"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_none_is_named_and_pytorchs_advice_stays_unsaid(tmp_path: Path, kind: str) -> None:
    make, expected = FILES[kind]
    path = tmp_path / "file.pt"
    make(path)  # type: ignore[operator]
    with pytest.raises(BadModelFile, match=expected) as told:
        read_published(path)
    assert "weights_only" not in str(told.value)
    assert "\n" not in str(told.value)


def test_nothing_in_a_refused_file_is_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "exploded",)

    torch.save({"state_dict": {"a": torch.zeros(1)}, "bomb": Bomb()}, tmp_path / "bomb.pt")
    with pytest.raises(BadModelFile):
        read_published(tmp_path / "bomb.pt")
    assert not (tmp_path / "exploded").exists()
