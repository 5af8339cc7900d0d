"""`smoothcert train denoiser`: the pair is one model, and its classifier stays as it was."""

import json
from pathlib import Path

import pytest
import torch

from smoothcert.models.checkpoint import load_network
from smoothcert.models.registry import ONNX, WEIGHTS_FILE, ModelRegistry, read_card
from tests.cli.conftest import DATA, MODEL, SETUP, Command, command_here

DIGITS = ("--dataset", "mnist", "--data-root", DATA / "mnist-tiny")
ASKED = ("train", "denoiser", *DIGITS, "--sigma", "0.5", "--epochs", "1", "--precision", "float32")
SMALL = ("--depth", "3", "--channels", "4")


@pytest.fixture(scope="session")
def pair(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A denoiser trained for a moment before the untrained LeNet."""
    folder = tmp_path_factory.mktemp("pairs") / "pair"
    with command_here(models) as run:
        done = run(*ASKED, *SMALL, "--classifier", MODEL, "--out", folder)
    assert done.returncode == 0, done.stderr
    assert "was trained with noise" in done.stderr
    return folder


def test_the_card_says_how_the_pair_was_made(pair: Path, models: Path) -> None:
    card, classifier = read_card(pair), ModelRegistry(models).card(MODEL)
    assert (card.architecture, card.method, card.sigma) == ("dncnn-3-4:lenet", "denoiser", 0.5)
    assert card.method_options == {"num_noises": 1, "form": "mse", "depth": 3, "channels": 4}
    assert card.training["classifier"] == {
        "name": MODEL,
        "sha256": classifier.classifier_sha256_in("float32"),
    }
    assert (card.training["optimizer"], card.training["lr"]) == ("adam", 1e-3)
    assert (card.labels, card.preprocessing) == (classifier.labels, classifier.preprocessing)


def test_the_classifier_is_kept_bit_for_bit_and_the_denoiser_is_not(pair: Path, models: Path) -> None:
    made, frozen = load_network(pair), load_network(models / MODEL)
    kept = made.classifier.state_dict()  # type: ignore[union-attr,operator]
    assert kept.keys() == frozen.state_dict().keys()
    assert all(torch.equal(kept[name], value) for name, value in frozen.state_dict().items())
    assert made.denoiser.dncnn[-1].weight.abs().max() > 0  # type: ignore[union-attr,index]


def test_the_pair_is_certified_verified_and_evaluated_as_any_model(
    inside: Command, pair: Path, tmp_path: Path
) -> None:
    image, certificate = DATA / "digit-7.png", tmp_path / "certificate.json"
    asked = ("--model", pair, "--n", "200", "--engine", SETUP, "--out", certificate)
    done = inside("certify", image, *asked)
    assert done.returncode == 0, done.stderr
    claimed = json.loads(certificate.read_text())["model"]
    assert claimed["sha256"] == read_card(pair).weights_sha256
    done = inside("verify", certificate, "--image", image, "--replay", SMOOTHCERT_MODELS=str(pair.parent))
    assert done.returncode == 0, done.stderr + done.stdout
    asked = (*DIGITS, "--limit", "2", "--n", "50", "--engine", SETUP, "--out", tmp_path / "log.tsv")
    done = inside("evaluate", pair, *asked, "--update-card")
    assert done.returncode == 0, done.stderr
    evaluation = read_card(pair).evaluation
    assert evaluation is not None
    assert evaluation.images == 2


def test_stability_starts_from_a_denoiser_that_was_trained_for_mse(
    inside: Command, pair: Path, tmp_path: Path
) -> None:
    asked = (*ASKED, *SMALL, "--classifier", MODEL, "--loss", "stability", "--out")
    for name, initial in (("from-mse", ("--init", pair)), ("from-nothing", ())):
        done = inside(*asked, tmp_path / name, *initial)
        assert done.returncode == 0, done.stderr
    from_mse, from_nothing = (read_card(tmp_path / name) for name in ("from-mse", "from-nothing"))
    assert from_mse.method_options["form"] == "stability"
    assert from_mse.training["initial"] is not None
    assert from_mse.weights_sha256 != from_nothing.weights_sha256


def test_a_classifier_in_an_onnx_file_gets_a_denoiser_too(inside: Command, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    import numpy as np

    from tests.support.onnx_files import linear

    weights_KD = np.random.default_rng(0).normal(size=(10, 784))
    (tmp_path / "net.onnx").write_bytes(linear(weights_KD, np.zeros(10), shape=("b", 1, 28, 28)))
    done = inside("add", tmp_path / "net.onnx", "--sigma", "0.5", "--out", tmp_path / "net")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "pair"
    asked = (*ASKED, *SMALL, "--loss", "stability", "--classifier", tmp_path / "net", "--out", folder)
    done = inside(*asked)
    assert done.returncode == 0, done.stderr
    assert "trained with noise" not in done.stderr
    assert read_card(folder).architecture == f"dncnn-3-4:{ONNX}"
    images = torch.rand(3, 1, 28, 28)
    made, given = load_network(folder), load_network(tmp_path / "net")
    with torch.no_grad():
        assert torch.equal(made.classifier(images), given(images))  # type: ignore[operator]
    done = inside("certify", DATA / "digit-7.png", "--model", folder, "--n", "100", "--engine", SETUP)
    assert done.returncode == 0, done.stderr


def test_a_network_trained_without_noise_is_certified_at_the_given_level(
    inside: Command, tmp_path: Path
) -> None:
    done = inside(*("train", "standard", *ASKED[2:], "--sigma", "0.25", "--out", tmp_path / "clean"))
    assert done.returncode == 0, done.stderr
    card = read_card(tmp_path / "clean")
    assert (card.method, card.sigma) == ("standard", 0.25)
    done = inside(*ASKED, *SMALL, "--classifier", tmp_path / "clean", "--out", tmp_path / "pair")
    assert done.returncode == 0, done.stderr
    assert "trained with noise" not in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "denoiser needs --classifier MODEL"),
        (("--classifier", "mine"), "There is no model 'mine'"),
        (("--classifier", MODEL, "--arch", "lenet"), "--arch is left out"),
        (("--classifier", MODEL, "--loss", "l1"), "loss must be one of mse, stability"),
        (("--classifier", MODEL, "--depth", "40"), "depth 32 and 256 channels at most"),
        (("--classifier", MODEL, "--width", "4"), "it has: num_noises, loss, depth, channels"),
        (("--classifier", MODEL, "--sigma", "0"), "sigma must be above 0"),
        (("--classifier", MODEL, "--dataset", "folder:" + str(DATA / "folder-tiny")), "images and"),
        (("--classifier", MODEL, "--init", DATA / "noise.png"), "--init"),
        (("--classifier", MODEL, "--resume", "--init", "unknown"), "--init unknown"),
    ],
)
def test_what_does_not_fit_is_one_line_and_leaves_no_model(
    inside: Command, tmp_path: Path, options: tuple[object, ...], message: str
) -> None:
    done = inside(*ASKED, *options, "--out", tmp_path / "pair")
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "pair" / WEIGHTS_FILE).exists()


def test_a_denoiser_of_another_size_or_before_a_pair_is_refused(
    inside: Command, pair: Path, tmp_path: Path
) -> None:
    done = inside(*ASKED, "--classifier", MODEL, "--init", pair, "--out", tmp_path / "pair")
    assert (done.returncode, "Are --depth and --channels right?" in done.stderr) == (2, True)
    done = inside(*ASKED, "--classifier", pair, "--out", tmp_path / "twice")
    assert (done.returncode, "has a denoiser already" in done.stderr) == (2, True)
    done = inside("train", "gaussian", *ASKED[2:], "--classifier", MODEL, "--out", tmp_path / "plain")
    assert (done.returncode, "--classifier is an option of denoiser alone" in done.stderr) == (2, True)


def test_a_run_is_not_continued_with_another_classifier(inside: Command, tmp_path: Path) -> None:
    from tests.cli.test_train import train_and_interrupt

    folder = tmp_path / "killed"
    asked = (*ASKED, *SMALL, "--epochs", "8")
    train_and_interrupt(inside, folder, *asked, "--classifier", MODEL)
    done = inside(*("train", "standard", *ASKED[2:], "--out", tmp_path / "clean"))
    assert done.returncode == 0, done.stderr
    done = inside(*asked, "--classifier", tmp_path / "clean", "--resume", "--out", folder)
    assert (done.returncode, "another recipe (classifier differ)" in done.stderr) == (2, True), done.stderr
