"""smoothcert add: a file becomes a model that is listed and certifies; what can't is one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from smoothcert.models.architectures import build_network
from smoothcert.models.registry import BUNDLED, WEIGHTS_FILE, read_card

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")

from tests.cli.conftest import command_here  # noqa: E402
from tests.support.onnx_files import model, node, small_network  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


def smoothcert(*arguments: object, models: Path) -> tuple[int, str, str]:
    environment = os.environ | {"SMOOTHCERT_MODELS": str(models), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "smoothcert", *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    return done.returncode, done.stdout, done.stderr


def inside(*arguments: object, models: Path) -> tuple[int, str, str]:
    """The same in this process."""
    with command_here(models) as run:
        done = run(*arguments)
    return done.returncode, done.stdout, done.stderr


def test_an_onnx_file_becomes_a_model_that_certifies(tmp_path: Path) -> None:
    source, models = tmp_path / "My Net.onnx", tmp_path / "models"
    source.write_bytes(small_network().SerializeToString())
    status, out, err = inside("add", source, "--sigma", "0.25", "--labels", "a,b,c,d", models=models)
    assert (status, "is not measured" in err) == (0, True), err
    assert "twice the same" in out
    card = read_card(models / "my-net")
    assert (card.architecture, card.labels, card.input_shape) == ("onnx", list("abcd"), (3, 8, 8))
    assert card.classifier_sha256_in("float32") != card.model_copy(
        update={"weights_sha256": "0" * 64}
    ).classifier_sha256_in("float32")
    image = Path("tests/data/digit-3.png")
    status, out, err = smoothcert(
        "certify", ROOT / image, "--model", "my-net", "--n", 500, "--json", models=models
    )
    assert status == 0, err
    assert json.loads(out)["model"]["sha256"] == card.weights_sha256
    status, out, _ = inside("models", models=models)
    assert "my-net" in out


def test_the_bundled_weights_become_the_bundled_model(tmp_path: Path) -> None:
    name = "mnist-lenet-gaussian-0.50"
    status, _, err = inside(
        "add", BUNDLED / name / WEIGHTS_FILE, "--arch", "lenet", "--sigma", 0.5, "--out", tmp_path / "again",
        models=tmp_path,
    )  # fmt: skip
    assert status == 0, err
    ours, theirs = read_card(tmp_path / "again"), read_card(BUNDLED / name)
    assert ours.classifier_sha256_in("float32") == theirs.classifier_sha256_in("float32")


COUPLED = model(
    [
        node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1),
        node("Sub", ["x", "m"], ["z"]),
        node("Flatten", ["z"], ["y"]),
    ]
)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"", (), "is empty"),
        (b"<html>", (), "HTML page"),
        (small_network().SerializeToString()[:200], (), "no ONNX file"),
        (COUPLED.SerializeToString(), (), "depends on the other images"),
        (small_network().SerializeToString(), ("--labels", "a,b"), "names 2 classes; the network has 4"),
        (small_network().SerializeToString(), ("--crop", "9"), "takes 8x8 images"),
        (small_network().SerializeToString(), ("--mode", "L"), "--mode L"),
        (small_network().SerializeToString(), ("--range", "0-1", "--mean", "0.5"), "not both"),
        (small_network().SerializeToString(), ("--arch", "lenet"), "--arch is for files of weights"),
        (small_network().SerializeToString(), ("--name", "Net"), "can't be a model's name"),
        (small_network().SerializeToString(), ("--sigma", "-1"), "--sigma"),
        (small_network(shape=("b", 3, "h", "w")).SerializeToString(), (), "--crop 224"),
    ],
)
def test_what_can_not_be_added_is_one_line_and_leaves_nothing(
    tmp_path: Path, content: bytes, options: tuple[str, ...], message: str
) -> None:
    from typer.testing import CliRunner

    from smoothcert.cli.main import commands
    from smoothcert.errors import InvalidRequest

    source = tmp_path / "net.onnx"
    source.write_bytes(content)
    arguments = ["add", str(source), "--sigma", "0.5", "--out", str(tmp_path / "models" / "net"), *options]
    done = CliRunner().invoke(commands, arguments)
    assert isinstance(done.exception, InvalidRequest)
    assert message in str(done.exception)
    assert "\n" not in str(done.exception)
    assert not list(tmp_path.glob("models/*"))


def test_a_folder_that_is_there_already_is_kept(tmp_path: Path) -> None:
    (tmp_path / "models/net").mkdir(parents=True)
    (tmp_path / "models/net/precious").touch()
    (tmp_path / "net.onnx").write_bytes(small_network().SerializeToString())
    status, _, err = inside("add", tmp_path / "net.onnx", "--sigma", 0.5, models=tmp_path / "models")
    assert (status, "exists already" in err) == (2, True)
    assert [path.name for path in (tmp_path / "models/net").iterdir()] == ["precious"]


def test_a_range_is_the_networks_first_layer(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_network("lenet", 10, (0.0,), (1.0,))
    torch.save(network[1].state_dict(), tmp_path / "lenet.pt")  # type: ignore[index]
    from smoothcert.models.added import AddRequest, read_model

    images_BCHW = torch.from_numpy(np.random.default_rng(0).random((3, 1, 28, 28), np.float32))
    for name, factor, shift in (("0-255", 255, 0), ("-1-1", 2, -1), ("0-1", 1, 0)):
        added = read_model(tmp_path / "lenet.pt", AddRequest("l", 0.5, "lenet", range=name)).network  # type: ignore[arg-type]
        torch.testing.assert_close(added(images_BCHW), network[1](images_BCHW * factor + shift))  # type: ignore[index]
