import json
import os
from pathlib import Path

import pytest

from smoothcert.errors import BadCheckpoint
from smoothcert.models.registry import CARD_FILE, ONNX_FILE, WEIGHTS_FILE, ModelRegistry
from tests.service.shelf import write_model


def test_where_there_is_no_folder_there_are_no_models(tmp_path: Path) -> None:
    assert ModelRegistry(tmp_path / "none").names() == []
    assert list(ModelRegistry(tmp_path / "none").cards()) == []


def test_folders_that_are_no_models_are_named_with_the_reason(tmp_path: Path) -> None:
    for name in ("Capital", "no-weights", "broken", ".hidden", "empty"):
        (tmp_path / name).mkdir()
    for name in ("Capital", "no-weights", "broken"):
        (tmp_path / name / CARD_FILE).write_text("{}")
    for name in ("Capital", "broken"):
        (tmp_path / name / WEIGHTS_FILE).write_bytes(b"")
    (tmp_path / "README.md").write_text("")
    reasons = ModelRegistry(tmp_path).left_out()
    assert list(reasons) == ["Capital", "broken", "empty", "no-weights"]
    assert "small letters" in reasons["Capital"]
    assert "is not a model card" in reasons["broken"]
    assert reasons["no-weights"] == "it has no model.safetensors"
    assert reasons["empty"] == "it has no card.json and no model.safetensors"


def change_card(folder: Path, **changes: object) -> None:
    card = json.loads((folder / CARD_FILE).read_text()) | changes
    (folder / CARD_FILE).write_text(json.dumps(card))


@pytest.mark.parametrize(
    "architecture",
    [
        "vit-of-mine",
        "resnet19",
        "",
        "timm:",
        "timm:../x",
        "timm:A",
        "ONNX",
        "lenet ",
        "dncnn-5-16:",
        "dncnn-5-16:mine",
        "dncnn-1-16:lenet",
        "dncnn-33-16:lenet",
        "dncnn-5-257:lenet",
        "dncnn-05-16:lenet",
        "dncnn-5-16:dncnn-5-16:lenet",
    ],
)
def test_a_model_of_an_unknown_architecture_is_left_out(tmp_path: Path, architecture: str) -> None:
    write_model(tmp_path, "good")
    write_model(tmp_path, "unknown")
    change_card(tmp_path / "unknown", architecture=architecture)
    registry = ModelRegistry(tmp_path)
    assert registry.names() == ["good"]
    assert [card.name for card in registry.cards()] == ["good"]
    assert "There is no architecture" in registry.left_out()["unknown"]
    assert list(registry.broken()) == ["unknown"]
    with pytest.raises(BadCheckpoint, match="no architecture"):
        registry.card("unknown")


@pytest.mark.parametrize(
    "architecture",
    ["resnet110", "resnet50", "vit_b_16", "timm:convnext_atto", "dncnn-17-64:resnet110", "dncnn-5-16:onnx"],
)
def test_a_model_of_a_known_architecture_is_listed(tmp_path: Path, architecture: str) -> None:
    write_model(tmp_path, "known")
    change_card(tmp_path / "known", architecture=architecture)
    assert ModelRegistry(tmp_path).names() == ["known"]


def test_an_onnx_model_needs_its_onnx_file(tmp_path: Path) -> None:
    write_model(tmp_path, "exported")
    change_card(tmp_path / "exported", architecture="onnx")
    registry = ModelRegistry(tmp_path)
    assert registry.left_out() == {"exported": "it has no model.onnx"}
    (tmp_path / "exported" / WEIGHTS_FILE).rename(tmp_path / "exported" / ONNX_FILE)
    assert registry.names() == ["exported"]


def test_a_card_that_is_mended_or_broken_is_noticed_at_once(tmp_path: Path) -> None:
    write_model(tmp_path, "m")
    registry, card = ModelRegistry(tmp_path), (tmp_path / "m" / CARD_FILE).read_text()
    for _ in range(3):
        (tmp_path / "m" / CARD_FILE).write_text("{}")
        assert registry.names() == []
        (tmp_path / "m" / CARD_FILE).write_text(card)
        assert registry.names() == ["m"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_card_that_may_not_be_read_is_left_out(tmp_path: Path) -> None:
    write_model(tmp_path, "secret")
    (tmp_path / "secret" / CARD_FILE).chmod(0)
    assert "can't be read" in ModelRegistry(tmp_path).left_out()["secret"]
