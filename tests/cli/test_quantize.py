"""From a checkpoint to a certificate in int8 that replays."""

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("openvino", reason="the extra `cpu` is not installed")

from smoothcert.engines.hardware import has_int8
from smoothcert.models.registry import INT8_FILE, read_card
from tests.cli.conftest import DATA, MODEL, SETUP, Command

IMAGE = DATA / "digit-3.png"
INT8_SETUP = "cpu:openvino/channels-last/folded/1-threads:int8:128"
IMAGES = ("--dataset", "mnist", "--data-root", DATA / "mnist-tiny")
needs_int8 = pytest.mark.skipif(not has_int8(), reason="this processor has no exact int8 products")


@pytest.fixture
def folder(models: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(models / MODEL, tmp_path / MODEL))


@pytest.fixture
def quantized(folder: Path, inside: Command) -> Path:
    done = inside("quantize", folder, *IMAGES, "--images", "32")
    assert done.returncode == 0, done.stderr
    assert "4 places rounded, 32 images seen" in done.stdout
    return folder


@needs_int8
def test_a_certificate_in_int8_names_it_and_replays(quantized: Path, inside: Command, tmp_path: Path) -> None:
    kept = tmp_path / "cert.json"
    done = inside("certify", IMAGE, "--model", quantized, "--n", "700", "--engine", INT8_SETUP, "--out", kept)
    assert done.returncode == 0, done.stderr
    certificate, card = json.loads(kept.read_text()), read_card(quantized)
    assert certificate["engine"]["precision"] == "int8"
    assert certificate["model"]["classifier_sha256"] == card.classifier_sha256_in("int8")
    check = ("verify", kept, "--image", IMAGE, "--replay", "--model", quantized)
    assert "every vote" in inside(*check).stdout
    unnamed = tmp_path / "unnamed.json"
    unnamed.write_text(
        json.dumps(certificate | {"model": certificate["model"] | {"classifier_sha256": None}})
    )
    assert "int8 rounding" in inside("verify", unnamed, "--model", quantized).stderr
    assert inside("quantize", quantized, *IMAGES, "--images", "31").returncode == 0
    refused = inside(*check)
    assert refused.returncode == 1
    assert "int8 rounding" in refused.stderr


def test_int8_is_never_used_unasked_before_its_radius_was_measured(
    quantized: Path, inside: Command, tmp_path: Path
) -> None:
    kept = tmp_path / "cert.json"
    assert read_card(quantized).int8 is not None
    assert inside("certify", IMAGE, "--model", quantized, "--n", "100", "--out", kept).returncode == 0
    assert json.loads(kept.read_text())["engine"]["precision"] != "int8"


@needs_int8
def test_the_card_holds_both_measurements(quantized: Path, inside: Command, tmp_path: Path) -> None:
    few = ("--every", "5", "--limit", "3", "--n", "100", "--seed", "1", "--update-card")
    for setup in (SETUP, INT8_SETUP):
        log = tmp_path / f"{setup[-8:-4]}.tsv"
        done = inside("evaluate", quantized, *IMAGES, *few, "--engine", setup, "--out", log)
        assert done.returncode == 0, done.stderr
    card = read_card(quantized)
    assert card.evaluation is not None
    assert card.evaluation.protocol.engine == SETUP
    assert card.int8 is not None
    assert card.int8.evaluation is not None
    assert card.int8.evaluation.protocol.engine == INT8_SETUP
    assert card.int8_is_as_good  # nobody is certified: the network is untrained


@needs_int8
def test_a_log_in_int8_is_not_continued_under_another_rounding(
    quantized: Path, inside: Command, tmp_path: Path
) -> None:
    asked = ("evaluate", quantized, *IMAGES, "--n", "100", "--seed", "1", "--engine", INT8_SETUP, "--resume",
             "--out", tmp_path / "log.tsv")  # fmt: skip
    assert inside(*asked, "--limit", "1").returncode == 0
    assert inside("quantize", quantized, *IMAGES, "--images", "31").returncode == 0
    refused = inside(*asked, "--limit", "2")
    assert refused.returncode == 2
    assert "int8_sha256" in refused.stderr


@needs_int8
def test_a_model_that_was_not_quantized_says_how_to(inside: Command, folder: Path) -> None:
    refused = inside("certify", IMAGE, "--model", folder, "--engine", INT8_SETUP)
    assert refused.returncode == 2
    assert "smoothcert quantize" in refused.stderr
    assert not (folder / INT8_FILE).exists()
