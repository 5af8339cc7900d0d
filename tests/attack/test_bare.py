"""The bare network's smallest perturbation: against the exact distance of linear networks, and on a CNN."""

import copy
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from smoothcert.attack.bare import BareAttacker, BareResult

RNG = np.random.default_rng(11)
Images = NDArray[np.uint8]


def linear(image_CHW: Images, classes: int, margin: float) -> nn.Module:
    """Random unit rows; class 0 leads every other one by `margin` to three times that, at the image."""
    rows_KD = RNG.normal(size=(classes, image_CHW.size))
    rows_KD /= np.linalg.norm(rows_KD, axis=1, keepdims=True)
    leads_K = np.append(0.0, margin * RNG.uniform(1, 3, classes - 1))
    bias_K = -rows_KD @ (image_CHW.reshape(-1) / 255) - leads_K
    layer = nn.Linear(image_CHW.size, classes).double()
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(rows_KD))
        layer.bias.copy_(torch.from_numpy(bias_K))
    return nn.Sequential(nn.Flatten(), layer)


def exact_distance(network: nn.Module, image_CHW: Images) -> float:
    """The l2 distance to the nearest class, with pixels in [0,1]: eta is clip(m * gradient, -x, 1-x)."""
    layer = network[1]
    assert isinstance(layer, nn.Linear)
    weight_KD, bias_K = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    pixels = image_CHW.reshape(-1) / 255
    scores_K = weight_KD @ pixels + bias_K
    return min(
        _distance(pixels, weight_KD[k] - weight_KD[0], scores_K[0] - scores_K[k])
        for k in range(1, len(bias_K))
    )


def _distance(pixels: NDArray[np.float64], gradient: NDArray[np.float64], lead: float) -> float:
    low, high = 0.0, 1e6

    def eta(multiple: float) -> NDArray[np.float64]:
        return np.clip(multiple * gradient, -pixels, 1 - pixels)

    if gradient @ eta(high) < lead:
        return math.inf
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if gradient @ eta(middle) >= lead else (middle, high)
    return float(np.linalg.norm(eta(high)))


def grey(shape: tuple[int, int, int]) -> Images:
    """No pixel near the ends: the box does not matter."""
    return RNG.integers(100, 156, shape, dtype=np.uint8)


def strokes(shape: tuple[int, int, int]) -> Images:
    """Black and white pixels only: each can move one way."""
    return np.where(RNG.random(shape) < 0.2, 255, 0).astype(np.uint8)


@pytest.mark.parametrize("draw", [grey, strokes])
@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("shape", [(1, 4, 6), (3, 16, 16)])
def test_a_linear_networks_distance_is_found_and_never_undercut(draw, classes, shape) -> None:  # type: ignore[no-untyped-def]
    for seed in range(3):
        image_CHW = draw(shape)
        network = linear(image_CHW, classes, margin=0.2)
        exact = exact_distance(network, image_CHW)
        found = BareAttacker(network, restarts=4).attack(image_CHW, seed)
        assert found.norm is not None
        assert exact * (1 - 1e-9) <= found.norm <= exact * 1.001
        assert_changes_the_class(network, image_CHW, found)


def assert_changes_the_class(network: nn.Module, image_CHW: Images, found: BareResult) -> None:
    """The perturbation as it was returned, evaluated again."""
    assert found.eta_CHW is not None
    image = image_CHW / 255
    moved_CHW = image + found.eta_CHW
    assert moved_CHW.min() >= 0
    assert moved_CHW.max() <= 1 + 1e-12
    dtype = next(network.parameters()).dtype
    with torch.no_grad():
        classes = [int(network(torch.from_numpy(x)[None].to(dtype)).argmax()) for x in (image, moved_CHW)]
    assert classes == [found.predicted, found.reached]
    assert found.reached != found.predicted
    assert found.norm == pytest.approx(float(np.linalg.norm(found.eta_CHW)))


def test_a_cnns_class_really_changes_at_what_is_found(small_network: nn.Module, image_CHW: Images) -> None:
    norms = []
    for restarts, steps in ((1, 20), (6, 100)):
        found = BareAttacker(small_network, restarts=restarts, steps=steps).attack(image_CHW, 3)
        assert_changes_the_class(small_network, image_CHW, found)
        norms.append(found.norm)
    assert norms[1] <= norms[0] * 1.001
    other = RNG.integers(0, 256, image_CHW.shape, dtype=np.uint8)
    assert_changes_the_class(small_network, other, BareAttacker(small_network, restarts=3).attack(other, 1))


def test_an_attack_repeats_from_its_seed(small_network: nn.Module, image_CHW: Images) -> None:
    attacker = BareAttacker(small_network, restarts=3, steps=20)
    assert attacker.attack(image_CHW, 1).norm == attacker.attack(image_CHW, 1).norm


def test_a_network_of_one_answer_is_not_broken() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(24, 3))
    with torch.no_grad():
        network[1].weight.zero_()
        network[1].bias.copy_(torch.tensor([0.0, 1.0, 0.0]))
    found = BareAttacker(network, restarts=2, steps=10).attack(grey((1, 4, 6)), 1)
    assert (found.predicted, found.norm, found.reached, found.eta_CHW) == (1, None, None, None)


def test_attacking_leaves_the_network_as_it_is(small_network: nn.Module, image_CHW: Images) -> None:
    network = copy.deepcopy(small_network).requires_grad_(requires_grad=True)
    BareAttacker(network, restarts=2, steps=3).attack(image_CHW, 1)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
