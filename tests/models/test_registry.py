from pathlib import Path

from smoothcert.models.registry import CARD_FILE, WEIGHTS_FILE, ModelRegistry


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
