"""int8 quantization of a network.

The input of every convolution and linear layer (batch norm folded) is rounded to 256 levels; weights to 255
symmetric levels, one scale per output channel. OpenVINO recognises this form and multiplies integers; PyTorch
computes the same in float32.
"""

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from smoothcert.errors import BadCheckpoint, InternalError, InvalidRequest
from smoothcert.schemas.card import LEVELS, Quantization

_MAX_WEIGHT = 127  # of the signed integers; -128 is not used, for symmetry
_ATTACHED = "_int8_rounding"
_LAYERS = (nn.Conv2d, nn.Linear)
# Rounding commutes with these layers; before them it lets them run on integers too.
_PASSED_OVER = (nn.MaxPool2d, nn.Flatten, nn.Identity, nn.Dropout)


def attach(network: nn.Module, quantization: Quantization) -> None:
    """Attach a quantization to the network it was calibrated for."""
    network.__dict__[_ATTACHED] = quantization


def attached(network: nn.Module) -> Quantization:
    """The attached quantization. Raises InvalidRequest if there is none."""
    quantization = network.__dict__.get(_ATTACHED)
    if not isinstance(quantization, Quantization):
        raise InvalidRequest("This model has no int8 rounding; `smoothcert quantize` calibrates one.")
    return quantization


def places(network: nn.Module) -> tuple[fx.GraphModule, list[fx.Node]]:
    """The traced network and the graph nodes whose outputs are rounded. Raises InternalError."""
    traced = _traced(network)
    modules = dict(traced.named_modules())
    layers = [node for node in traced.graph.nodes if isinstance(_module(node, modules), _LAYERS)]
    return traced, list(dict.fromkeys(_source(layer, modules) for layer in layers))


def quantized(network: nn.Module, quantization: Quantization) -> nn.Module:
    """The network (eval mode, batch norm folded, float32) with all rounding inserted.

    Rounds the weights in place.

    Raises BadCheckpoint: the quantization is not for this network; InternalError: the network can't be
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
    """Rounds weights to 255 symmetric levels, one scale per output channel: its largest weight is 127."""

    scales: Tensor
    zeros: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        largest = weight.detach().flatten(1).abs().amax(dim=1)
        self.register_buffer("scales", torch.where(largest > 0, largest / _MAX_WEIGHT, 1.0))
        self.register_buffer("zeros", torch.zeros_like(largest, dtype=torch.int32))

    def forward(self, weight: Tensor) -> Tensor:
        return torch.fake_quantize_per_channel_affine(
            weight, self.scales, self.zeros, 0, -_MAX_WEIGHT, _MAX_WEIGHT
        )


def _traced(network: nn.Module) -> fx.GraphModule:
    try:
        return fx.symbolic_trace(network)
    except Exception as error:  # symbolic tracing of an unknown network may raise anything
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
