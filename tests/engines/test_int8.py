"""The int8 engine config: integers are multiplied, and the votes are those of one fixed function."""

import copy

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

pytest.importorskip("openvino", reason="the extra `cpu` is not installed")

from smoothcert.engines import engine as engines
from smoothcert.engines.config import EngineConfig
from smoothcert.engines.engine import Engine, check_runnable, cpu_voter
from smoothcert.engines.hardware import has_int8
from smoothcert.engines.int8 import CalibrationRequest, RoundedWeight, attach, calibrate, quantized
from smoothcert.engines.openvino_cpu import _compiled
from smoothcert.engines.pytorch import Voter, fold_batch_norm
from smoothcert.errors import BadCheckpoint, InternalError, InvalidRequest
from smoothcert.schemas.card import Quantization
from smoothcert.votes import VoteRange
from tests.support.rows import rows_answer_alike_in_any_order

SHAPE = (3, 12, 12)
SETUP = EngineConfig("cpu", "openvino", "int8", 64, threads=2)
VOTES = VoteRange("estimation", 0, 1000)
Pixels = NDArray[np.uint8]
needs_int8 = pytest.mark.skipif(not has_int8(), reason="this processor has no exact int8 products")


@pytest.fixture(scope="module")
def rounding(small_network: nn.Module, image_CHW: Pixels) -> Quantization:
    images_u8 = torch.from_numpy(image_CHW)[None].repeat(64, 1, 1, 1)
    request = CalibrationRequest("0" * 64, "one", 0.5, 64, 0)
    return calibrate(small_network, images_u8, request, lambda seen: None)


@pytest.fixture
def network(small_network: nn.Module, rounding: Quantization) -> nn.Module:
    network = copy.deepcopy(small_network)
    attach(network, rounding)
    return network


def reference(network: nn.Module, rounding: Quantization) -> Voter:
    """The same rounding, run by PyTorch in float32."""
    folded = fold_batch_norm(copy.deepcopy(network))
    return Voter(quantized(folded, rounding), torch.float32, torch.contiguous_format).eval()


@needs_int8
def test_openvino_multiplies_integers(network: nn.Module) -> None:
    compiled = _compiled(network, (64, 12, 12, 3), SETUP)
    ran = {"Convolution": [], "FullyConnected": []}  # type: dict[str, list[str]]
    for node in compiled.get_runtime_model().get_ops():
        told = node.get_rt_info()
        ran.get(told["layerType"].astype(str), []).append(told["runtimePrecision"].astype(str))
    assert ran == {"Convolution": ["u8", "u8"], "FullyConnected": ["u8"]}


@needs_int8
def test_votes_are_those_of_the_same_rounding_in_float32(network: nn.Module, rounding: Quantization) -> None:
    voter = cpu_voter(network, SHAPE, 6, SETUP)
    pixels_BHWC = torch.randint(-255, 510, voter.shape_BHWC, dtype=torch.int16)
    voter.start(0, pixels_BHWC)
    with torch.no_grad():
        expected = reference(network, rounding)(pixels_BHWC).numpy()
    assert (voter.classes(0) == expected).mean() > 0.95  # a sum may be rounded the other way at a half
    assert len(np.unique(expected)) > 2


@needs_int8
def test_votes_are_the_same_after_a_reload_and_in_another_split(
    network: nn.Module, small_network: nn.Module, rounding: Quantization, image_CHW: Pixels
) -> None:
    whole = Engine(network, SHAPE, 6, SETUP).sampler(image_CHW, 0.5, 7).count(VOTES)
    attach(
        again := copy.deepcopy(small_network), Quantization.model_validate_json(rounding.model_dump_json())
    )
    source = Engine(again, SHAPE, 6, SETUP).sampler(image_CHW, 0.5, 7)
    parts = [source.count(VoteRange("estimation", start, start + 125)) for start in range(0, 1000, 125)]
    assert sum(parts).tolist() == whole.tolist()  # type: ignore[union-attr]
    assert np.count_nonzero(whole) > 2


@needs_int8
def test_a_row_is_classified_alike_wherever_it_stands_in_the_batch(network: nn.Module) -> None:
    assert rows_answer_alike_in_any_order(cpu_voter(network, SHAPE, 6, SETUP))


def test_rounding_hardly_changes_the_logits(network: nn.Module, rounding: Quantization) -> None:
    images = torch.rand(50, *SHAPE) + 0.5 * torch.randn(50, *SHAPE)
    with torch.no_grad():
        exact, rounded = network(images), reference(network, rounding).network(images)
    assert (
        0 < (exact - rounded).abs().mean() < 0.1 * exact.std()
    )  # a tiny network, whose logits differ little


def test_weights_keep_their_signs_and_lie_on_255_levels() -> None:
    weight = torch.randn(4, 3, 2, 2)
    weight[1] = 0
    steps = RoundedWeight(weight)(weight).flatten(1) * 127 / weight.flatten(1).abs().amax(1, keepdim=True)
    assert torch.equal(RoundedWeight(weight)(weight)[1], torch.zeros(3, 2, 2))
    assert torch.allclose(steps[[0, 2, 3]], steps[[0, 2, 3]].round(), atol=1e-4)
    assert steps[[0, 2, 3]].abs().amax(1).tolist() == pytest.approx([127] * 3)


@needs_int8
def test_int8_without_a_rounding_raises_invalid_request(small_network: nn.Module) -> None:
    with pytest.raises(InvalidRequest, match="smoothcert quantize"):
        Engine(small_network, SHAPE, 6, SETUP)


def test_the_rounding_of_another_network_is_refused(small_network: nn.Module, rounding: Quantization) -> None:
    alien = rounding.model_copy(update={"places": dict(list(rounding.places.items())[1:])})
    with pytest.raises(BadCheckpoint, match="not for its network"):
        quantized(small_network, alien)


@pytest.mark.parametrize("text", ["cpu:eager/folded/1-threads:int8:8", "cpu:openvino/1-threads:int8:8"])
def test_int8_on_another_back_end_raises_invalid_request(text: str) -> None:
    with pytest.raises(InvalidRequest, match="int8 is for openvino"):
        check_runnable(EngineConfig.parse(text))


def test_a_processor_that_would_saturate_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "has_int8", lambda: False)
    with pytest.raises(InternalError, match="eight-bit integers"):
        check_runnable(SETUP)
