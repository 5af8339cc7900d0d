"""int8 quantization of a network, and its calibration: each activation's range on noisy training images.

The input of every convolution and linear layer (batch norm folded) is rounded to 256 levels; weights to 255
symmetric levels, one scale per output channel. OpenVINO recognises this form and multiplies integers; PyTorch
computes the same in float32.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from smoothcert.engines.pytorch import fold_batch_norm
from smoothcert.errors import BadCheckpoint, InternalError, InvalidRequest
from smoothcert.schemas.card import LEVELS, Calibration, Quantization, Rounding

_MAX_WEIGHT = 127  # of the signed integers; -128 is not used, for symmetry
_ATTACHED = "_int8_rounding"
_LAYERS = (nn.Conv2d, nn.Linear)
# Rounding commutes with these layers; before them it lets them run on integers too.
_PASSED_OVER = (nn.MaxPool2d, nn.Flatten, nn.Identity, nn.Dropout)
_BATCH = 64  # images
_MIN_RANGE = 1e-6  # of an activation that is always 0
Report = Callable[[int], None]


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


@dataclass(frozen=True)
class CalibrationRequest:
    """What to calibrate on. weights_sha256: of the checkpoint that the rounding belongs to.

    dataset: the images' name. sigma: noise level, pixels in [0,1]. images: how many of them. seed: of their
    choice and noise.
    """

    weights_sha256: str
    dataset: str
    sigma: float
    images: int
    seed: int


class Images(Protocol):
    """Images as uint8 (C, H, W), by index: a tensor, or files that are decoded on access."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Tensor: ...


def calibrate(
    network: nn.Module, images_u8: Images, request: CalibrationRequest, report: Report
) -> Quantization:
    """The rounding of each activation: it covers the mean over images of their smallest and largest values.

    report: called with the number of images so far. The same request gives the same rounding. Raises
    InternalError, as `places` does.
    """
    traced, nodes = places(fold_batch_norm(copy.deepcopy(network).eval()))
    observer = RangeObserver(traced, {node.name for node in nodes})
    generator = torch.Generator().manual_seed(request.seed)
    chosen = torch.randperm(len(images_u8), generator=generator)[: request.images]
    for indices_B in chosen.split(_BATCH):  # type: ignore[no-untyped-call]
        images_BCHW = torch.stack([images_u8[index] for index in indices_B.tolist()]) / 255
        noise_BCHW = torch.randn(images_BCHW.shape, generator=generator)
        observer.observe(images_BCHW + request.sigma * noise_BCHW)
        report(observer.images)
    return Quantization(
        weights_sha256=request.weights_sha256,
        calibration=Calibration(
            dataset=request.dataset,
            images=observer.images,
            sigma=request.sigma,
            seed=request.seed,
        ),
        places={name: _rounding(*ends) for name, ends in observer.mean_ranges().items()},
    )


class RangeObserver(fx.Interpreter):
    """Runs a traced network and sums each image's smallest and largest value of each activation."""

    def __init__(self, traced: fx.GraphModule, names: set[str]) -> None:
        super().__init__(traced)
        self.images = 0
        self._names = names
        self._sums: dict[str, Tensor] = {}

    def observe(self, images_BCHW: Tensor) -> None:
        """Add one batch."""
        self.images += len(images_BCHW)
        with torch.no_grad():
            self.run(images_BCHW)

    def run_node(self, n: fx.Node) -> Any:
        """Runs a node and records its result. (n: the superclass's name for the node.)"""
        result = super().run_node(n)
        if n.name in self._names:
            minimum_B, maximum_B = result.flatten(1).double().aminmax(dim=1)
            ends = torch.stack([minimum_B.sum(), maximum_B.sum()])
            self._sums[n.name] = self._sums.get(n.name, torch.zeros_like(ends)) + ends
        return result

    def mean_ranges(self) -> dict[str, tuple[float, float]]:
        """Smallest and largest value of each activation, means over images; in the network's order."""
        means = {name: ends / self.images for name, ends in self._sums.items()}
        return {name: (float(ends[0]), float(ends[1])) for name, ends in means.items()}


def _rounding(minimum: float, maximum: float) -> Rounding:
    """256 levels from `minimum` to `maximum`. One of them is exactly 0, the value of padding."""
    minimum, maximum = min(minimum, 0.0), max(maximum, 0.0)
    scale = max(maximum - minimum, _MIN_RANGE) / LEVELS
    return Rounding(scale=scale, zero_point=round(-minimum / scale))


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
