import pytest
import torch
from torch import nn

from smoothcert.engines.int8 import CalibrationRequest, calibrate

ORDER = CalibrationRequest("a" * 64, "stand-in", sigma=0.25, images=100, seed=3)


@pytest.fixture
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (130, 1, 8, 8), dtype=torch.uint8, generator=generator)


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(1)
    features = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(36, 2)).eval()


def test_the_same_request_gives_the_same_rounding(network: nn.Module, images: torch.Tensor) -> None:
    seen: list[int] = []
    first = calibrate(network, images, ORDER, seen.append)
    assert seen == [64, 100]
    assert calibrate(network, images, ORDER, seen.append) == first
    other = CalibrationRequest("a" * 64, "stand-in", sigma=0.25, images=100, seed=4)
    assert calibrate(network, images, other, seen.append).places != first.places


def test_activations_are_rounded_before_pooling(network: nn.Module, images: torch.Tensor) -> None:
    rounding = calibrate(network, images, ORDER, lambda seen: None)
    assert list(rounding.places) == ["input_1", "_2"]  # the pixels, and the ReLU
    assert rounding.places["_2"].zero_point == 0


def test_the_levels_cover_the_range_of_noisy_images(network: nn.Module, images: torch.Tensor) -> None:
    rounding = calibrate(network, images, ORDER, lambda seen: None)
    pixels = rounding.places["input_1"]
    least, most = -pixels.zero_point * pixels.scale, (255 - pixels.zero_point) * pixels.scale
    assert -0.8 < least < -0.2
    assert 1.2 < most < 1.8


def test_an_activation_that_is_always_zero_still_has_a_scale(
    network: nn.Module, images: torch.Tensor
) -> None:
    with torch.no_grad():
        network[0].weight.zero_()  # type: ignore[operator, union-attr]
        network[0].bias.fill_(-1)  # type: ignore[operator, union-attr]
    rounding = calibrate(network, images, ORDER, lambda seen: None)
    assert 0 < rounding.places["_2"].scale < 1e-6
