import pytest
import torch
from torch import nn
from torch.nn import functional

from smoothcert.models.architectures import Normalize, build_network
from training.quick import ConvPoolReLU, quickened


def gradients(network: nn.Module, like: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    like.zero_grad()
    torch.nn.functional.cross_entropy(network(images), torch.arange(len(images)) % 10).backward()
    return {name: parameter.grad.clone() for name, parameter in like.named_parameters()}


def test_lenet_rewired_is_the_same_function_with_the_same_gradients() -> None:
    torch.manual_seed(0)
    network = build_network("lenet", 10, (0.1,), (0.3,)).double()
    quick = quickened(network)
    images = torch.rand(12, 1, 28, 28, dtype=torch.float64)
    torch.testing.assert_close(quick(images), network(images))
    wanted = gradients(network, network, images)
    for name, gradient in gradients(quick, network, images).items():
        torch.testing.assert_close(gradient, wanted[name])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_the_pixels_gradient_under_frozen_weights_is_the_same(dtype: torch.dtype, tolerance: float) -> None:
    """What attacks ask for goes another way than what training asks for."""
    torch.manual_seed(0)
    network = build_network("lenet", 10, (0.0,), (1.0,)).to(dtype).requires_grad_(False)
    images = torch.rand(12, 1, 28, 28).to(dtype, memory_format=torch.channels_last).requires_grad_()
    wanted, quick = (
        torch.autograd.grad(functional.cross_entropy(each(images), torch.arange(12) % 10), images)[0]
        for each in (network, quickened(network))
    )
    torch.testing.assert_close(quick, wanted, rtol=0, atol=tolerance * float(wanted.abs().max()))


def test_the_pixels_gradient_of_no_images_is_none() -> None:
    """Of several processes those beyond a step's last image attack nothing."""
    images = torch.zeros(0, 1, 28, 28, requires_grad=True)
    network = quickened(build_network("lenet", 10, (0.0,), (1.0,))).requires_grad_(False)
    assert torch.autograd.grad(network(images).sum(), images)[0].shape == images.shape


def test_autocast_convolves_alike_with_and_without_a_gradient_to_the_pixels() -> None:
    torch.manual_seed(0)
    network = quickened(build_network("lenet", 10, (0.0,), (1.0,))).requires_grad_(False)
    images = torch.rand(12, 1, 28, 28)
    with torch.autocast("cpu", torch.bfloat16):
        plain, watched = network(images), network(images.clone().requires_grad_())
    assert plain.dtype == watched.dtype == torch.bfloat16
    assert torch.equal(plain, watched)


def test_a_normalisation_that_changes_nothing_is_left_out() -> None:
    kept = [
        isinstance(quickened(build_network("lenet", 10, (mean,), (std,)))[0], Normalize)  # type: ignore[index]
        for mean, std in ((0.0, 1.0), (0.1, 1.0), (0.0, 0.5))
    ]
    assert kept == [False, True, True]


def test_rewiring_shares_the_parameters_and_leaves_the_network_as_it_was() -> None:
    network = build_network("lenet", 10, (0.0,), (1.0,))
    names = list(network.state_dict())
    quick = quickened(network)
    assert sum(isinstance(module, ConvPoolReLU) for module in quick.modules()) == 2
    assert list(network.state_dict()) == names
    assert [id(p) for p in quick.parameters()] == [id(p) for p in network.parameters()]
    assert quickened(build_network("resnet20", 10, (0.0,) * 3, (1.0,) * 3)).training


def test_a_layer_that_stands_in_several_places_stays_in_all_of_them() -> None:
    relu = nn.ReLU()
    network = nn.Sequential(nn.Conv2d(1, 2, 3), relu, nn.MaxPool2d(2), nn.Conv2d(2, 2, 3), relu, nn.Flatten())
    images = torch.rand(4, 1, 10, 10)
    torch.testing.assert_close(quickened(network)(images), network(images))
    assert quickened(network)[-2] is relu  # type: ignore[index]


@pytest.mark.parametrize("sides", [(28, 28), (27, 29)])
def test_grey_images_of_any_size_are_taken(sides: tuple[int, int]) -> None:
    """Only those with even sides go by blocks."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2)).double()
    images = torch.rand(4, 1, *sides, dtype=torch.float64)
    torch.testing.assert_close(quickened(network)(images), network(images))


@pytest.mark.parametrize(
    "layers",
    [
        (nn.Conv2d(1, 2, 3, bias=False), nn.ReLU(), nn.MaxPool2d(2)),
        (nn.Conv2d(2, 2, 3, groups=2), nn.ReLU(), nn.MaxPool2d(2)),
        (nn.Conv2d(1, 2, 3, padding="same"), nn.ReLU(), nn.MaxPool2d(2)),
        (nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(3)),
        (nn.Conv2d(1, 2, 3), nn.GELU(), nn.MaxPool2d(2)),
    ],
)
def test_what_is_not_taken_stays(layers: tuple[nn.Module, ...]) -> None:
    assert list(quickened(nn.Sequential(*layers))) == list(layers)
