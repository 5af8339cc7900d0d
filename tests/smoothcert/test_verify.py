import json
from pathlib import Path
from typing import Any

import pytest

from tests.smoothcert.conftest import DATA, SETUP, Command, Finished

IMAGE = DATA / "digit-3.png"


@pytest.fixture(scope="module")
def certificate(smoothcert: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    kept = tmp_path_factory.mktemp("kept") / "cert.json"
    done = smoothcert("certify", IMAGE, "--n", "700", "--setup", SETUP, "--out", kept)
    assert done.returncode == 0, done.stderr
    return kept


def edited(certificate: Path, tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "edited.json"
    path.write_text(json.dumps(json.loads(certificate.read_text()) | changes))
    return path


def assert_refused(done: Finished, complaint: str, code: int = 1) -> None:
    assert done.returncode == code
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_certificate_holds_and_its_votes_can_be_redrawn(inside: Command, certificate: Path) -> None:
    done = inside("verify", certificate, "--image", IMAGE, "--replay")
    assert done.returncode == 0, done.stderr
    assert "holds" in done.stdout
    assert "every vote" in done.stdout


def test_an_edited_certificate_is_refused_naming_the_field(
    inside: Command, certificate: Path, tmp_path: Path
) -> None:
    radius = json.loads(certificate.read_text())["radius"]
    assert_refused(inside("verify", edited(certificate, tmp_path, radius=radius + 0.01)), "refused: radius")
    assert_refused(inside("verify", edited(certificate, tmp_path, radius=-1)), "is not a certificate", code=2)
    relabelled = edited(certificate, tmp_path, label="8")
    assert_refused(inside("verify", relabelled), "refused: label")
    reshaped = json.loads(certificate.read_text())["input"] | {"shape": [1, 14, 56]}
    squeezed = edited(certificate, tmp_path, input=reshaped)
    assert_refused(inside("verify", squeezed, "--image", IMAGE), "refused: input")
    other_seed = edited(certificate, tmp_path, seed="0" * 32)
    replayed = inside("verify", other_seed, "--image", DATA / "noise.png", "--replay")
    assert_refused(replayed, "refused: input")


def test_a_model_of_equal_weights_under_another_card_is_not_the_one_that_voted(
    inside: Command, certificate: Path, models: Path, tmp_path: Path
) -> None:
    voted = json.loads(certificate.read_text())["model"]
    bundled = models / voted["name"]
    twin = tmp_path / voted["name"]
    twin.mkdir()
    (twin / "model.safetensors").write_bytes((bundled / "model.safetensors").read_bytes())
    card = json.loads((bundled / "card.json").read_text())
    card["preprocessing"] |= {"mean": [0.5]}
    (twin / "card.json").write_text(json.dumps(card))
    assert inside("verify", certificate, "--model", bundled).returncode == 0
    assert_refused(inside("verify", certificate, "--model", twin), "refused: model: the architecture or norm")


def test_the_image_can_be_compared_where_the_model_is_not_there(
    inside: Command, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMOOTHCERT_MODELS", str(tmp_path))
    done = inside("verify", certificate, "--image", IMAGE)
    assert done.returncode == 0, done.stderr
    assert "input" in done.stdout
    assert_refused(inside("verify", certificate, "--image", DATA / "digit-4.png"), "refused: input")
    assert_refused(inside("verify", certificate, "--image", IMAGE, "--replay"), "There is no model", code=2)


def test_votes_that_were_never_cast_are_found_by_replay(
    inside: Command, certificate: Path, tmp_path: Path
) -> None:
    document = json.loads(certificate.read_text())
    shifted = document["selection_counts"]
    top = shifted.index(max(shifted))
    shifted[top] -= 1  # the statistics don't depend on it, the votes do
    forged = edited(certificate, tmp_path, selection_counts=shifted)
    assert inside("verify", forged).returncode == 0
    assert_refused(inside("verify", forged, "--image", IMAGE, "--replay"), "refused: selection_counts")


def test_replay_needs_the_image(inside: Command, certificate: Path) -> None:
    assert_refused(inside("verify", certificate, "--replay"), "give it with --image", code=2)
