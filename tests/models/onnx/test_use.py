"""A network from an ONNX file is used like any other: engines, folding, int8, gradients, certificates."""

import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the extra onnx is not installed")

import torch
from torch import nn

from smoothcert.classifier import SmoothedClassifier
from smoothcert.engines.config import EngineConfig
from smoothcert.engines.engine import Engine
from smoothcert.engines.int8 import places, quantized
from smoothcert.engines.pytorch import fold_batch_norm, has_batch_norm
from smoothcert.models.added import AddRequest, read_model, save_model
from smoothcert.models.checkpoint import load_network
from smoothcert.schemas.card import Calibration, Quantization, Rounding
from smoothcert.votes import VoteRange
from tests.support.onnx_files import linear, small_network

SHAPE_CHW = (3, 8, 8)
SIGMA = 0.5


@pytest.fixture
def network(tmp_path: Path) -> nn.Module:
    (tmp_path / "net.onnx").write_bytes(small_network().SerializeToString())
    save_model(read_model(tmp_path / "net.onnx", AddRequest("net", SIGMA, range="-1-1")), tmp_path / "net")
    return load_network(tmp_path / "net")


@pytest.mark.parametrize("backend", ["eager", "openvino"])
def test_back_ends_count_alike(network: nn.Module, backend: str) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is not installed")
    image = np.random.default_rng(0).integers(0, 256, SHAPE_CHW, dtype=np.uint8)
    config = EngineConfig("cpu", backend, "float32", 64, threads=1)  # type: ignore[arg-type]
    plain = EngineConfig("cpu", "eager", "float32", 64, channels_last=False, folded=False, threads=1)
    counts_K, other_K = (
        Engine(network, SHAPE_CHW, 4, each).sampler(image, SIGMA, 5).count(VoteRange("estimation", 0, 640))
        for each in (config, plain)
    )
    assert np.abs(counts_K - other_K).max() <= 2  # the noise is the same; rounding may turn a tie
    assert (counts_K > 0).sum() > 1


def test_batch_norm_is_folded_and_places_for_int8_are_found(network: nn.Module) -> None:
    assert has_batch_norm(network)
    folded = fold_batch_norm(network)
    assert not has_batch_norm(folded)
    images_BCHW = torch.rand(5, *SHAPE_CHW)
    torch.testing.assert_close(folded(images_BCHW), network(images_BCHW), rtol=1e-4, atol=1e-5)
    _, nodes = places(folded)
    rounding = Quantization(
        weights_sha256="0" * 64,
        calibration=Calibration(dataset="d", images=1, sigma=SIGMA, seed=0),
        places={node.name: Rounding(scale=0.05, zero_point=128) for node in nodes},
    )
    assert len(nodes) == 2
    error = (quantized(folded, rounding)(images_BCHW) - network(images_BCHW)).abs().max()
    assert 0 < error < 0.2 * network(images_BCHW).abs().max()


def test_gradients_reach_the_pixels(network: nn.Module) -> None:
    images_BCHW = torch.rand(2, *SHAPE_CHW, requires_grad=True)
    network(images_BCHW)[:, 0].sum().backward()
    assert images_BCHW.grad is not None
    assert images_BCHW.grad.abs().sum() > 0


def test_the_certified_radius_of_a_linear_classifier_never_exceeds_its_distance(tmp_path: Path) -> None:
    """f(x) = sign(w.x + b): the smoothed classifier is f, with radius |w.x + b| / |w|, exactly."""
    rng = np.random.default_rng(4)
    for index in range(6):
        weights_D = rng.normal(size=192).astype(np.float32)
        pixels_CHW = rng.integers(0, 256, SHAPE_CHW, dtype=np.uint8)
        distance = float(rng.uniform(0.1, 0.9) * rng.choice([-1, 1]))
        norm = float(np.linalg.norm(weights_D.astype(np.float64)))
        shift = distance * norm - float(weights_D.astype(np.float64) @ (pixels_CHW.flatten() / 255))
        content = linear(np.stack([weights_D, -weights_D]), np.array([shift, -shift]))
        (tmp_path / f"{index}.onnx").write_bytes(content)
        folder = tmp_path / f"linear-{index}"
        save_model(read_model(tmp_path / f"{index}.onnx", AddRequest(folder.name, SIGMA)), folder)
        classifier = SmoothedClassifier.load(folder, engine="cpu:eager/1-threads:float32:256")
        certificate = classifier.certify(pixels_CHW, seed=f"{index:032x}", n=20_000)
        assert certificate.predicted_class == (0 if distance > 0 else 1)
        assert 0.85 * abs(distance) < certificate.radius <= abs(distance)
        assert math.isfinite(certificate.radius)
