"""A network in eight-bit integers: where numbers are rounded, and the same network with that rounding in it.

In front of every convolution and linear layer (of the network with its batch norm folded) what comes in is
rounded to 256 levels, and the weights to 255, symmetrically, one scale an output channel. OpenVINO recognises
this form and multiplies the integers themselves; run by PyTorch it is the same arithmetic, in float32.
"""

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from smoothcert.errors import BadCheckpoint, InternalError, InvalidRequest
from smoothcert.schemas.card import LEVELS, Quantization

_MOST = 127  # of the weights' signed integers; -128 is left out, so that 0 is in the middle
_ATTACHED = "_int8_rounding"
_LAYERS = (nn.Conv2d, nn.Linear)
# Rounding before or after these gives the same, and before them it lets them run on integers too.
_PASSED_OVER = (nn.MaxPool2d, nn.Flatten, nn.Identity, nn.Dropout)


def attach(network: nn.Module, quantization: Quantization) -> None:
    """The rounding goes with the network it was calibrated for, wherever that is run."""
    network.__dict__[_ATTACHED] = quantization


def attached(network: nn.Module) -> Quantization:
    """Raises InvalidRequest for a network without."""
    quantization = network.__dict__.get(_ATTACHED)
    if not isinstance(quantization, Quantization):
        raise InvalidRequest("This model has no int8 rounding; `smoothcert quantize` calibrates one.")
    return quantization


def places(network: nn.Module) -> tuple[fx.GraphModule, list[fx.Node]]:
    """The traced network, and the nodes of its graph whose results are rounded. Raises InternalError."""
    traced = _traced(network)
    modules = dict(traced.named_modules())
    layers = [node for node in traced.graph.nodes if isinstance(_module(node, modules), _LAYERS)]
    return traced, list(dict.fromkeys(_source(layer, modules) for layer in layers))


def quantized(network: nn.Module, quantization: Quantization) -> nn.Module:
    """The network (eval mode, batch norm folded, float32) with all rounding in it; its weights are rounded
    in place. Raises BadCheckpoint when the rounding is another network's, InternalError when it can't be
    traced.
    """
    traced, nodes = places(network)
    if {node.name for node in nodes} != set(quantization.places):
        raise BadCheckpoint("The int8 rounding of this checkpoint is not for its network: quantize it again.")
    for node in nodes:
        _round_result(traced, node, quantization)
    traced.recompile()
    for module in traced.modules():
        if isinstance(module, _LAYERS):
            parametrize.register_parametrization(module, "weight", RoundedWeight(module.weight))
    return traced


class RoundedWeight(nn.Module):
    """Weights on 255 levels, symmetric about 0, one scale an output channel: the largest is 127 steps."""

    scales: Tensor
    zeros: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        largest = weight.detach().flatten(1).abs().amax(dim=1)
        self.register_buffer("scales", torch.where(largest > 0, largest / _MOST, 1.0))
        self.register_buffer("zeros", torch.zeros_like(largest, dtype=torch.int32))

    def forward(self, weight: Tensor) -> Tensor:
        return torch.fake_quantize_per_channel_affine(weight, self.scales, self.zeros, 0, -_MOST, _MOST)


def _traced(network: nn.Module) -> fx.GraphModule:
    try:
        return fx.symbolic_trace(network)
    except Exception as error:  # whatever symbolic tracing meets in a foreign network
        raise InternalError(f"This network can't be traced to round it to int8: {error}") from error


def _source(layer: fx.Node, modules: dict[str, nn.Module]) -> fx.Node:
    node = layer.args[0]
    assert isinstance(node, fx.Node)
    while isinstance(_module(node, modules), _PASSED_OVER):
        node = node.args[0]
        assert isinstance(node, fx.Node)
    return node


def _module(node: fx.Node, modules: dict[str, nn.Module]) -> nn.Module | None:
    return modules[str(node.target)] if node.op == "call_module" else None


def _round_result(traced: fx.GraphModule, node: fx.Node, quantization: Quantization) -> None:
    rounding = quantization.places[node.name]
    with traced.graph.inserting_after(node):
        rounded = traced.graph.call_function(torch.fake_quantize_per_tensor_affine)
    node.replace_all_uses_with(rounded)
    rounded.args = (node, rounding.scale, rounding.zero_point, 0, LEVELS)
