import pytest
import torch
from torch import nn

from certification.architectures import build_network
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


@pytest.mark.parametrize(
    "layers",
    [
        (nn.Conv2d(1, 2, 3, bias=False), nn.ReLU(), nn.MaxPool2d(2)),
        (nn.Conv2d(2, 2, 3, groups=2), nn.ReLU(), nn.MaxPool2d(2)),
        (nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(3)),
        (nn.Conv2d(1, 2, 3), nn.GELU(), nn.MaxPool2d(2)),
    ],
)
def test_what_does_not_commute_stays(layers: tuple[nn.Module, ...]) -> None:
    assert list(quickened(nn.Sequential(*layers))) == list(layers)
