"""Checkpoint folders: what is saved is loaded, and what was altered is refused."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from smoothcert.engines.int8 import attached
from smoothcert.errors import BadCheckpoint, UnknownModel
from smoothcert.models.architectures import build_network
from smoothcert.models.checkpoint import load_network, save_card, save_checkpoint, save_quantization
from smoothcert.models.registry import CARD_FILE, INT8_FILE, WEIGHTS_FILE, ModelRegistry
from smoothcert.schemas.card import Calibration, Int8, ModelCard, Preprocessing, Quantization, Rounding
from tests.support.cards import measured

CARD = ModelCard(
    name="tiny", architecture="lenet", dataset="mnist", input_shape=(1, 28, 28), labels=list("0123456789"),
    preprocessing=Preprocessing(mode="L", mean=(0.0,), std=(1.0,)), sigma=0.5, method="gaussian",
    weights_sha256="0" * 64, data_license="none",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    save_checkpoint(tmp_path / "tiny", build_network("lenet", 10, [0.0], [1.0]), CARD)
    return tmp_path / "tiny"


def test_a_saved_network_answers_as_before(tmp_path: Path) -> None:
    network = build_network("lenet", 10, [0.0], [1.0]).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    save_checkpoint(tmp_path / "tiny", network, CARD)
    images = torch.rand(4, 1, 28, 28)
    with torch.no_grad():
        torch.testing.assert_close(load_network(tmp_path / "tiny")(images), network(images))


def test_a_loaded_network_is_in_eval_mode(folder: Path) -> None:
    assert not load_network(folder).training


def test_the_card_learns_the_digest_of_the_weights(folder: Path) -> None:
    assert ModelRegistry(folder.parent).card("tiny").weights_sha256 != CARD.weights_sha256


def test_one_flipped_bit_in_the_weights_is_refused(folder: Path) -> None:
    weights = bytearray((folder / WEIGHTS_FILE).read_bytes())
    weights[-1] ^= 1
    (folder / WEIGHTS_FILE).write_bytes(weights)
    with pytest.raises(BadCheckpoint, match="sha256"):
        load_network(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", ["1.features.0.bias", "1.head.3.weight"])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float, place: str) -> None:
    network = build_network("lenet", 10, [0.0], [1.0])
    with torch.no_grad():
        network.state_dict()[place].view(-1)[3] = value
    save_checkpoint(tmp_path / "tiny", network, CARD)
    with pytest.raises(BadCheckpoint, match=f"{place} holds NaN or infinite numbers"):
        load_network(tmp_path / "tiny")


@pytest.mark.parametrize("std", [0.0, -1.0, float("nan")])
def test_a_card_whose_first_layer_divides_by_no_positive_number_is_refused(std: float) -> None:
    with pytest.raises(ValidationError, match="std"):
        Preprocessing(mode="L", mean=(0.0,), std=(std,))


def test_weights_of_another_architecture_are_refused(folder: Path) -> None:
    card = ModelRegistry(folder.parent).card("tiny")
    save_card(folder, card.model_copy(update={"labels": list("012")}))
    with pytest.raises(BadCheckpoint, match="does not fit lenet"):
        load_network(folder)


def test_a_pickle_in_place_of_the_weights_is_never_opened(folder: Path, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "exploded",)  # type: ignore[return-value]

    torch.save(Bomb(), folder / WEIGHTS_FILE)
    with pytest.raises(BadCheckpoint):
        load_network(folder)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("missing", [CARD_FILE, WEIGHTS_FILE])
def test_half_a_checkpoint_is_no_model(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    assert ModelRegistry(folder.parent).names() == []
    with pytest.raises(UnknownModel, match="there are: none"):
        ModelRegistry(folder.parent).folder("tiny")


@pytest.mark.parametrize("name", ["../tiny", "", ".", "a/b", "TINY", "x" * 200])
def test_names_that_could_leave_the_registry_are_unknown(folder: Path, name: str) -> None:
    with pytest.raises(UnknownModel):
        ModelRegistry(folder.parent).folder(name)


def test_a_broken_card_is_left_out_of_the_list_and_explained_when_asked_for(folder: Path) -> None:
    (folder / CARD_FILE).write_text('{"name": "tiny"}')
    registry = ModelRegistry(folder.parent)
    assert registry.cards() == []
    with pytest.raises(BadCheckpoint, match="not a model card"):
        registry.card("tiny")


@pytest.fixture
def rounding(folder: Path) -> Quantization:
    return Quantization(
        weights_sha256=ModelRegistry(folder.parent).card("tiny").weights_sha256,
        calibration=Calibration(dataset="mnist", images=1, sigma=0.5, seed=0),
        places={"truediv": Rounding(scale=0.1 / 3, zero_point=77)},
    )


def test_a_rounding_is_loaded_with_the_network_as_it_was_saved(folder: Path, rounding: Quantization) -> None:
    save_quantization(folder, rounding)
    assert attached(load_network(folder)) == rounding


def test_an_altered_rounding_is_refused(folder: Path, rounding: Quantization) -> None:
    save_quantization(folder, rounding)
    (folder / INT8_FILE).write_text((folder / INT8_FILE).read_text().replace("77", "78"))
    with pytest.raises(BadCheckpoint, match="sha256"):
        load_network(folder)


def test_a_rounding_of_other_weights_is_refused(folder: Path, rounding: Quantization) -> None:
    named = save_quantization(folder, rounding).int8
    card = save_checkpoint(folder, build_network("lenet", 10, [0.0], [1.0]), CARD)
    assert card.int8 is None
    save_card(folder, card.model_copy(update={"int8": named}))
    with pytest.raises(BadCheckpoint, match="for other weights"):
        load_network(folder)


@pytest.mark.parametrize(
    ("was", "becomes"),
    [('"scale": 0.03', '"scale": -0.03'), ('"scale": 0.03', '"scale": 1e39'), ("77", "256"), ("77", "NaN"),
     ('"truediv"', '3'), ('{', '[')],
)  # fmt: skip
def test_a_hostile_rounding_can_only_fail_to_load(
    folder: Path, rounding: Quantization, was: str, becomes: str
) -> None:
    card = save_quantization(folder, rounding)
    content = (folder / INT8_FILE).read_text().replace(was, becomes, 1).encode()
    (folder / INT8_FILE).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    save_card(folder, card.model_copy(update={"int8": Int8(sha256=digest)}))
    with pytest.raises(BadCheckpoint, match="is no int8 rounding"):
        load_network(folder)


def test_figures_are_kept_for_the_same_rounding_and_dropped_for_another(
    folder: Path, rounding: Quantization
) -> None:
    card = save_quantization(folder, rounding)
    assert card.int8 is not None
    assert card.int8.evaluation is None
    known = card.int8.model_copy(update={"evaluation": measured(0.7)})
    save_card(folder, card.model_copy(update={"int8": known}))
    assert save_quantization(folder, rounding).int8 == known
    other = rounding.model_copy(update={"places": {"truediv": Rounding(scale=0.05, zero_point=77)}})
    forgotten = save_quantization(folder, other).int8
    assert forgotten is not None
    assert forgotten.evaluation is None


def denoised(classifier: str) -> ModelCard:
    return CARD.model_copy(update={"architecture": f"dncnn-3-4:{classifier}", "method": "denoiser"})


def test_a_pair_is_saved_and_loaded_as_one(tmp_path: Path) -> None:
    torch.manual_seed(2)
    network = build_network("dncnn-3-4:lenet", 10, [0.0], [1.0]).eval()
    torch.nn.init.normal_(network.denoiser.dncnn[-1].weight)  # type: ignore[union-attr,index,arg-type]
    card = save_checkpoint(tmp_path / "pair", network, denoised("lenet"))
    loaded, images = load_network(tmp_path / "pair"), torch.rand(4, 1, 28, 28)
    with torch.no_grad():
        assert torch.equal(loaded(images), network(images))
        network.classifier[1].head[3].bias[0] += 1  # type: ignore[union-attr,index]
    assert save_checkpoint(tmp_path / "other", network, denoised("lenet")).classifier_sha256_in(
        "float32"
    ) != card.classifier_sha256_in("float32")


def test_a_pair_holds_the_whole_onnx_file_of_its_classifier(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    from smoothcert.models.architectures import build_denoised
    from smoothcert.models.checkpoint import CLASSIFIER_FILE
    from smoothcert.models.onnx.network import network_in
    from smoothcert.models.registry import DenoisedArchitecture
    from tests.support.onnx_files import linear

    content = linear(np.random.default_rng(0).normal(size=(10, 784)), np.zeros(10), shape=("b", 1, 28, 28))
    classifier = torch.nn.Sequential(torch.nn.Identity(), network_in(content, (1, 28, 28), 10))
    classifier.onnx = content  # type: ignore[assignment]
    network = build_denoised(DenoisedArchitecture(3, 4, "onnx"), classifier, 1).eval()
    card = save_checkpoint(tmp_path / "pair", network, denoised("onnx"))
    images = torch.rand(4, 1, 28, 28)
    with torch.no_grad():
        torch.testing.assert_close(load_network(tmp_path / "pair")(images), network(images))
    tensors = load_file(tmp_path / "pair" / WEIGHTS_FILE)
    assert tensors.pop(CLASSIFIER_FILE).numpy().tobytes() == content
    save_file(tensors, tmp_path / "pair" / WEIGHTS_FILE)
    digest = hashlib.sha256((tmp_path / "pair" / WEIGHTS_FILE).read_bytes()).hexdigest()
    save_card(tmp_path / "pair", card.model_copy(update={"weights_sha256": digest}))
    with pytest.raises(BadCheckpoint, match="holds no ONNX file"):
        load_network(tmp_path / "pair")
