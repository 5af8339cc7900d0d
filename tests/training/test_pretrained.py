"""Pretrained weights: every kind of file gives the same ones; what does not fit is named."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from smoothcert.errors import InvalidRequest
from smoothcert.models.architectures import build_network
from training.pretrained import PretrainedWeights


def network(classes: int = 10) -> nn.Module:
    torch.manual_seed(classes)
    return build_network("lenet", classes, (0.0,), (1.0,))


@pytest.fixture
def trained() -> dict[str, torch.Tensor]:
    torch.manual_seed(99)
    return build_network("lenet", 10, (0.0,), (1.0,)).state_dict()


@pytest.mark.parametrize("kind", ["folder", "safetensors", "state dict", "of its body", "wrapped"])
def test_every_kind_of_file_gives_the_same_weights(
    tmp_path: Path, trained: dict[str, torch.Tensor], kind: str
) -> None:
    path = tmp_path / ("model.safetensors" if kind in ("folder", "safetensors") else "weights.pt")
    if path.suffix == ".safetensors":
        save_file(trained, path)
    elif kind == "of its body":
        torch.save({name.removeprefix("1."): value for name, value in trained.items()}, path)
    elif kind == "wrapped":
        wrapped = {f"module.{name}": value for name, value in trained.items()}
        torch.save({"state_dict": wrapped, "epoch": 3}, path)
    else:
        torch.save(trained, path)
    fitted = PretrainedWeights.read(tmp_path if kind == "folder" else path).fitted(network())
    assert fitted.keys() == trained.keys()
    assert all(torch.equal(fitted[name], trained[name]) for name in trained)


def test_a_head_for_other_classes_needs_new_head(trained: dict[str, torch.Tensor]) -> None:
    with pytest.raises(InvalidRequest, match=r"is \(10, 500\), not \(3, 500\).*--new-head"):
        PretrainedWeights(bare(trained)).fitted(network(3))
    fitted = PretrainedWeights(bare(trained), new_head=True).fitted(network(3))
    fresh = network(3).state_dict()
    differing = {name for name in fresh if not torch.equal(fitted[name], fresh[name])}
    assert fresh.keys() - differing == {"1.head.3.weight", "1.head.3.bias"}


def test_an_architecture_without_a_linear_layer_has_no_head_to_leave_out() -> None:
    with torch.device("meta"):
        squeezenet = build_network("squeezenet1_1", 10, (0.0,) * 3, (1.0,) * 3)
    with pytest.raises(InvalidRequest, match="has none"):
        PretrainedWeights({}, new_head=True).fitted(squeezenet)


def test_missing_and_unknown_names_are_reported(trained: dict[str, torch.Tensor]) -> None:
    weights = bare(trained)
    weights["strange"] = weights.pop("head.1.bias")
    with pytest.raises(InvalidRequest, match=r"missing: 1\.head\.1\.bias; unknown: 1\.strange"):
        PretrainedWeights(weights).fitted(network())


class Evil:
    """Unpickling it would call print."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("ran",)


def test_no_code_in_a_file_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"a": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(InvalidRequest, match="can't be read as weights"):
        PretrainedWeights.read(tmp_path / "evil.pt")
    assert capsys.readouterr().out == ""
    (tmp_path / "noise.pt").write_bytes(b"no weights at all")
    with pytest.raises(InvalidRequest, match="can't be read as weights"):
        PretrainedWeights.read(tmp_path / "noise.pt")


def test_other_weights_are_another_recipe(trained: dict[str, torch.Tensor]) -> None:
    one, same = PretrainedWeights(bare(trained)), PretrainedWeights(bare(trained))
    assert one.digest == same.digest
    assert one.digest != PretrainedWeights(bare(network().state_dict())).digest


def bare(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix("1."): value for name, value in weights.items()}
