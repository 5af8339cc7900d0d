"""`import smoothcert`: the public names, without torch until one needs it."""

import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import smoothcert
from smoothcert.schemas.job import Progress
from smoothcert.schemas.parameters import Parameters

ROOT = Path(__file__).resolve().parents[1]
MODEL, ENGINE = "mnist-lenet-consistency-0.50", "cpu:eager/1-threads:float32:128"


@pytest.fixture(scope="module")
def classifier() -> smoothcert.SmoothedClassifier:
    return smoothcert.load(MODEL, ENGINE)


def test_every_public_name_can_be_loaded() -> None:
    assert {name: getattr(smoothcert, name) for name in smoothcert.__all__}
    assert set(smoothcert.__all__) <= set(dir(smoothcert))
    assert smoothcert.__version__ == version("smoothcert")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = smoothcert.nothing


def test_documents_clients_and_verification_load_no_torch() -> None:
    script = (
        "import sys, smoothcert; smoothcert.Certificate, smoothcert.verify, smoothcert.Client, "
        "smoothcert.AsyncClient, smoothcert.to_grid; print('torch' in sys.modules)"
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
    assert smoothcert.verify(certificates[0], image=path, model=classifier, replay=True).first_wrong is None


def test_a_certificate_is_saved_and_loaded(classifier: smoothcert.SmoothedClassifier, tmp_path: Path) -> None:
    certificate = classifier.certify(ROOT / "tests/data/digit-7.png", n=300)
    certificate.save(tmp_path / "c.json")
    loaded = smoothcert.Certificate.load(tmp_path / "c.json")
    assert loaded == certificate
    assert not loaded.abstained
    assert smoothcert.verify(tmp_path / "c.json")
    assert certificate._repr_html_().count("<img") == 1
    assert loaded._repr_html_().count("<img") == 0
    assert "class 7" in loaded._repr_html_()
    assert "0.1234<" in certificate.model_copy(update={"radius": 0.12349})._repr_html_()


def test_what_does_not_hold_is_named(classifier: smoothcert.SmoothedClassifier, tmp_path: Path) -> None:
    image = ROOT / "tests/data/digit-7.png"
    certificate = classifier.certify(image, n=300)
    larger = certificate.model_copy(update={"radius": certificate.radius + 0.01})
    with pytest.raises(smoothcert.NotProved, match="radius: ") as refused:
        smoothcert.verify(larger)
    assert refused.value.field == "radius"
    with pytest.raises(smoothcert.NotProved, match="input: the pixels"):
        smoothcert.verify(certificate, image=ROOT / "tests/data/digit-3.png")
    with pytest.raises(smoothcert.NotProved, match="model: the weights"):
        smoothcert.verify(certificate, model="mnist-lenet-consistency-0.25")
    noise = ROOT / "tests/data/noise.png"
    other_seed = classifier.certify(noise, n=300).model_copy(update={"seed": "0" * 32})
    with pytest.raises(smoothcert.NotProved, match="counts: "):
        smoothcert.verify(other_seed, image=noise, model=classifier, replay=True)
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(smoothcert.NotACertificate, match="outcome: "):
        smoothcert.verify(tmp_path / "broken.json")
    with pytest.raises(smoothcert.InvalidRequest, match="needs the image"):
        smoothcert.verify(certificate, replay=True)


def test_a_model_that_is_here_is_compared_without_being_given(
    classifier: smoothcert.SmoothedClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = classifier.certify(ROOT / "tests/data/digit-7.png", n=300)
    checked = [check.field for check in smoothcert.verify(certificate).checks]
    assert checked[-3:] == ["model", "sigma", "label"]
    relabelled = certificate.model_copy(update={"label": "3"})
    with pytest.raises(smoothcert.NotProved, match="label: "):
        smoothcert.verify(relabelled)
    renamed = relabelled.model.model_copy(update={"name": "small"})
    shutil.copytree(ROOT / "models" / MODEL, tmp_path / "small")
    monkeypatch.chdir(tmp_path)
    assert smoothcert.verify(relabelled.model_copy(update={"model": renamed})), "a name is no path"


def test_a_deadline_ends_with_the_best_certificate_so_far(classifier: smoothcert.SmoothedClassifier) -> None:
    image = ROOT / "tests/data/digit-7.png"
    classifier.certify(image, n=300)  # builds the engine
    certificate = classifier.certify(image, n=10_000_000, deadline=1.0)
    assert certificate.drawn is not None
    assert 0 < certificate.drawn < 10_000_000
    assert smoothcert.verify(certificate)
    with pytest.raises(smoothcert.InvalidRequest, match="deadline"):
        classifier.certify(image, deadline=0)


def test_predictions_and_many_images_come_in_order(classifier: smoothcert.SmoothedClassifier) -> None:
    digits = [ROOT / f"tests/data/digit-{k}.png" for k in (7, 3, 1)]
    certificates = classifier.certify_many(digits, n=300, seed=5)
    assert [c.predicted_class for c in certificates] == [7, 3, 1]
    assert classifier.predict(digits[1], n=200) == 3


def test_seeds_are_numbers_or_digits(classifier: smoothcert.SmoothedClassifier) -> None:
    image = ROOT / "tests/data/digit-7.png"
    assert classifier.certify(image, n=300, seed=15).seed == "0" * 31 + "f"
    assert classifier.certify(image, n=300, seed=np.int64(15)).seed == "0" * 31 + "f"
    for seed in (-1, 2**128, "xyz", True):
        with pytest.raises(smoothcert.InvalidRequest, match="a seed is"):
            classifier.certify(image, n=300, seed=seed)


@pytest.mark.parametrize(
    ("image", "parameters", "reason"),
    [
        ("no-such-file.png", {}, "can't be read"),
        (b"not an image", {}, "Not an image"),
        (np.zeros((3, 28, 28)), {}, r"shape \(1, 28, 28\)"),
        (np.full((1, 28, 28), 0.3), {}, "to_grid"),
        (np.zeros((1, 28, 28), np.uint8), {"n": 9}, "the least n is 10"),
        (np.zeros((1, 28, 28), np.uint8), {"alpha": 2}, "alpha=2: .* less than 1"),
        (np.zeros((1, 28, 28), np.uint8), {"procedure": "prove"}, "procedure='prove': "),
    ],
)
def test_what_cannot_be_certified_is_a_value_error(
    classifier: smoothcert.SmoothedClassifier, image: object, parameters: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason) as refused:
        classifier.certify(image, **parameters)
    assert isinstance(refused.value, smoothcert.SmoothCertError)


def test_a_checkpoint_folder_is_a_model(classifier: smoothcert.SmoothedClassifier, tmp_path: Path) -> None:
    assert smoothcert.SmoothedClassifier.load(ROOT / "models" / MODEL, ENGINE).card == classifier.card
    with pytest.raises(smoothcert.SmoothCertError, match="There is no model 'nope'"):
        smoothcert.SmoothedClassifier.load("nope")
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(smoothcert.UnknownModel, match=r"no card\.json.*smoothcert add"):
        smoothcert.load(tmp_path)


def test_each_step_of_a_certification_says_what_to_expect(
    classifier: smoothcert.SmoothedClassifier,
) -> None:
    image = smoothcert.read_image((ROOT / "tests/data/digit-7.png").read_bytes(), classifier.card)
    parameters = Parameters(n=3000, sigma=classifier.card.sigma)
    *steps, certificate = classifier.stream(image, parameters, "0f" * 16)
    assert isinstance(certificate, smoothcert.Certificate)
    expected = [step.forecast for step in steps if isinstance(step, Progress) and step.forecast]
    assert len(expected) == len(steps) - 1, "all but the last, which is the end"
    assert {one.votes for one in expected} == {3000}
    assert all(one.seconds > 0 for one in expected)
    assert expected[-1].radius == pytest.approx(certificate.radius, rel=0.2)
    assert certificate.asked_before is None
