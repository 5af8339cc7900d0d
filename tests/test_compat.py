"""The field's class: the same interface, on classifiers whose radius is known."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from smoothcert.compat import ABSTAIN, Smooth
from smoothcert.errors import BadImage, InvalidRequest

ENGINE = "cpu:eager/1-threads:float32:256"
SIGMA, N0, N, ALPHA, BATCH = 0.5, 100, 10_000, 0.001, 256


class Linear(nn.Module):
    """Two classes by the sign of w·x + b; the exact radius is |w·x + b| / |w|."""

    def __init__(self, weights_D: Tensor, bias: float) -> None:
        super().__init__()
        self.register_buffer("weights", weights_D)
        self.bias = bias

    def forward(self, images: Tensor) -> Tensor:
        margins = images.flatten(1) @ self.weights + self.bias
        return torch.stack([-margins, margins], dim=1)


def case(seed: int, *, on_grid: bool) -> tuple[Linear, Tensor, int, float]:
    """A random linear classifier, an image, its class and its true radius."""
    rng = np.random.default_rng(seed)
    image = torch.from_numpy(rng.random((3, 4, 4)))
    if on_grid:
        image = image.mul(255).round().div(255)
    weights = torch.from_numpy(rng.normal(size=48)).float()
    radius = float(rng.uniform(0.05, 1.5))
    sign = rng.choice([-1, 1])
    bias = sign * radius * float(weights.norm()) - float(weights.double() @ image.flatten())
    return Linear(weights, bias), image, int(sign > 0), radius


@pytest.mark.parametrize("on_grid", [True, False])
def test_radii_of_linear_classifiers_are_close_below_the_true_ones(on_grid: bool) -> None:
    cap = SIGMA * stats.norm.ppf(ALPHA ** (1 / N))
    torch.manual_seed(0)
    for seed in range(8):
        network, image, label, radius = case(seed, on_grid=on_grid)
        answer, certified = Smooth(network, 2, SIGMA, engine=ENGINE).certify(image, N0, N, ALPHA, BATCH)
        assert answer in (label, ABSTAIN)
        assert certified <= radius
        if 0.2 < radius < 0.9 * cap:
            assert certified > 0.85 * radius, f"{certified} of {radius}"


def test_predictions_abstain_at_the_boundary() -> None:
    network, image, label, _ = case(1, on_grid=True)
    smooth = Smooth(network, 2, SIGMA, engine=ENGINE)
    assert smooth.predict(image.float(), N, ALPHA, BATCH) == label
    network.bias = -float(network.weights.double() @ image.flatten())
    assert Smooth(network, 2, SIGMA, engine=ENGINE).predict(image, 1000, 1e-9, BATCH) == Smooth.ABSTAIN == -1
    assert Smooth(network, 2, SIGMA, engine=ENGINE).certify(image, 10, 100, 1e-9, BATCH) == (ABSTAIN, 0.0)


def test_weights_may_change_between_calls() -> None:
    network, image, label, _ = case(2, on_grid=True)
    smooth = Smooth(network, 2, SIGMA, engine=ENGINE)
    assert smooth.predict(image, 1000, ALPHA) == label
    network.weights.data.neg_()
    network.bias = -network.bias
    assert smooth.predict(image, 1000, ALPHA) == 1 - label
    network.bias = (1 - 2 * label) * -1000.0  # no weight, but part of the code
    assert smooth.predict(image, 1000, ALPHA) == label


def test_the_callers_module_keeps_its_modes() -> None:
    network = nn.Sequential(nn.BatchNorm2d(3).eval(), nn.Dropout(), nn.Flatten(), nn.Linear(48, 2))
    network.training, network[1].training = True, True
    modes = [part.training for part in network.modules()]
    smooth = Smooth(network, 2, SIGMA, engine=ENGINE)
    for _ in range(2):
        smooth.predict(torch.zeros(3, 4, 4), 100, ALPHA)
    assert [part.training for part in network.modules()] == modes


def test_torchs_seed_repeats_the_votes() -> None:
    network, image, *_ = case(3, on_grid=True)
    smooth, radii = Smooth(network, 2, SIGMA, engine=ENGINE), []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        radii.append(smooth.certify(image, N0, 500, ALPHA)[1])
    assert radii[0] == radii[1] != radii[2]


def test_too_few_votes_abstain_and_wrong_arguments_are_named() -> None:
    network, image, *_ = case(4, on_grid=True)
    smooth = Smooth(network, 2, SIGMA, engine=ENGINE)
    assert smooth.certify(image, 1, 2, ALPHA, 1) == (ABSTAIN, 0.0)
    assert smooth.predict(image[None], 1, ALPHA, 1) == ABSTAIN
    with pytest.raises(BadImage, match=r"\(C, H, W\)"):
        smooth.certify(image[0], N0, N, ALPHA)
    with pytest.raises(BadImage, match="NaN"):
        smooth.certify(image * torch.nan, N0, N, ALPHA)
    with pytest.raises(InvalidRequest, match="alpha=2"):
        smooth.certify(image, N0, N, 2)
    with pytest.raises(InvalidRequest, match="num_classes is 3"):
        Smooth(network, 3, SIGMA, engine=ENGINE).certify(image, N0, N, ALPHA)
    with pytest.raises(InvalidRequest, match="sigma"):
        Smooth(network, 2, 0)
