"""`import smoothcert`: the public names, without torch until one needs it."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

import smoothcert

ROOT = Path(__file__).resolve().parents[1]
MODEL, ENGINE = "mnist-lenet-consistency-0.50", "cpu:eager/1-threads:float32:128"


@pytest.fixture(scope="module")
def classifier() -> smoothcert.SmoothedClassifier:
    return smoothcert.SmoothedClassifier.load(MODEL, ENGINE)


def test_every_public_name_can_be_loaded() -> None:
    assert {name: getattr(smoothcert, name) for name in smoothcert.__all__}
    assert set(smoothcert.__all__) <= set(dir(smoothcert))
    assert smoothcert.__version__ == version("smoothcert")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = smoothcert.nothing


def test_documents_and_verification_load_no_torch() -> None:
    script = (
        "import sys, smoothcert; smoothcert.Certificate, smoothcert.verify; print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout == "False\n"


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "smoothcert", "models", "--json"], capture_output=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0
    assert MODEL.encode() in done.stdout


def test_a_path_bytes_and_pixels_give_the_same_certificate(classifier: smoothcert.SmoothedClassifier) -> None:
    path = ROOT / "tests/data/digit-7.png"
    pixels_CHW = smoothcert.read_image(path.read_bytes(), classifier.card).to_array()
    certificates = [
        classifier.certify(image, n=300, seed="0f" * 16) for image in (path, path.read_bytes(), pixels_CHW)
    ]
    assert len({(c.radius, tuple(c.counts), c.input.sha256) for c in certificates}) == 1
    assert certificates[0].predicted_class == 7
    assert smoothcert.verify(certificates[0]).first_wrong is None


@pytest.mark.parametrize(
    ("image", "parameters", "reason"),
    [
        ("no-such-file.png", {}, "can't be read"),
        (b"not an image", {}, "Not an image"),
        (np.zeros((1, 28, 28)), {}, "takes uint8 pixels of shape 1x28x28"),
        (np.zeros((1, 28, 28), np.uint8), {"n": 9}, "the least n is 10"),
        (np.zeros((1, 28, 28), np.uint8), {"alpha": 2}, "less than 1"),
    ],
)
def test_what_cannot_be_certified_is_a_value_error(
    classifier: smoothcert.SmoothedClassifier, image: object, parameters: dict[str, float], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        classifier.certify(image, **parameters)


def test_a_checkpoint_folder_is_a_model(classifier: smoothcert.SmoothedClassifier) -> None:
    assert smoothcert.SmoothedClassifier.load(ROOT / "models" / MODEL, ENGINE).card == classifier.card
    with pytest.raises(smoothcert.SmoothCertError, match="There is no model 'nope'"):
        smoothcert.SmoothedClassifier.load("nope")
