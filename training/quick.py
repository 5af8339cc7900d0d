"""The same network, rewired to train faster on a CPU: every layer keeps its parameters and its name."""

import copy

from torch import Tensor, nn

from smoothcert.models.architectures import Normalize
from training.grey import GreyConvPool, takes
from training.pooling import ConvPool


class ConvPoolReLU(nn.Module):
    """Convolution, ReLU and 2x2 max pooling in one.

    The same function; rounding differs. How: `training/pooling.py`, and `training/grey.py` for grey images
    with even sides.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, images_BCHW: Tensor) -> Tensor:
        conv = self.convolution
        assert conv.bias is not None
        joined: Tensor = (
            GreyConvPool.apply(images_BCHW, conv.weight, conv.bias)
            if takes(conv, images_BCHW.shape)
            else ConvPool.apply(images_BCHW, conv.weight, conv.bias, (conv.stride, conv.padding))
        )
        return joined


def quickened(network: nn.Module) -> nn.Module:
    """Another way through the same layers; `network` itself is left as it is."""
    # Not named_children(), which leaves out a layer's second place: one ReLU may stand after several layers.
    if isinstance(network, Normalize) and _is_identity(network):
        return nn.Identity()
    children = {name: quickened(child) for name, child in network._modules.items() if child is not None}
    if not children:
        return network
    twin = copy.copy(network)
    twin._modules = dict(
        _joined(children) if isinstance(network, nn.Sequential) else network._modules | children
    )
    return twin


def _joined(children: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """A Sequential's layers; where three in a row are convolution, ReLU and pooling they become one."""
    names, joined = list(children), dict(children)
    for first, second, third in zip(names, names[1:], names[2:], strict=False):
        conv, relu, pool = children[first], children[second], children[third]
        if _is_plain(conv) and isinstance(relu, nn.ReLU) and _halves(pool):
            assert isinstance(conv, nn.Conv2d)
            joined[first] = ConvPoolReLU(conv)
            del joined[second], joined[third]
    return joined


def _is_plain(layer: nn.Module) -> bool:
    return (
        isinstance(layer, nn.Conv2d)
        and layer.bias is not None
        and layer.groups == 1
        and layer.dilation == (1, 1)
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
    )


def _is_identity(layer: Normalize) -> bool:
    return bool((layer.mean == 0).all() and (layer.std == 1).all())


def _halves(layer: nn.Module) -> bool:
    return (
        isinstance(layer, nn.MaxPool2d)
        and (layer.kernel_size, layer.stride, layer.padding, layer.dilation) == (2, 2, 0, 1)
        and not (layer.ceil_mode or layer.return_indices)
    )
