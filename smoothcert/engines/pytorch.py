"""The PyTorch back end: grid pixels to classes, on the CPU eager or compiled."""

import copy
import operator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.fx.experimental.optimization import fuse
from torch.nn.utils.fusion import fuse_conv_bn_weights

from smoothcert.engines.config import EngineConfig, Precision
from smoothcert.errors import InternalError
from smoothcert.schemas.certificate import Shape
from smoothcert.votes import NO_CLASS

DTYPES: dict[Precision, torch.dtype] = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

_MAX_COMPILED = 256  # engines compiled in one process


class Voter(nn.Module):
    """Grid pixels (integers, shape (B,H,W,C), value/255 is the pixel) to classes (int64, shape (B,)).

    The class is that of the highest score, or NO_CLASS if a score is not finite. The division rounds
    correctly in float32, so the network's input is a fixed function of the integers.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype, memory_format: torch.memory_format) -> None:
        super().__init__()
        self.network = network
        self.dtype = dtype
        self.memory_format = memory_format
        self.register_buffer("steps", torch.tensor(255.0))
        self.steps: Tensor

    def forward(self, pixels_BHWC: Tensor) -> Tensor:
        images_BHWC = pixels_BHWC.to(torch.float32).div(self.steps).to(self.dtype)
        images_BCHW = images_BHWC.permute(0, 3, 1, 2).contiguous(memory_format=self.memory_format)
        logits_BK: Tensor = self.network(images_BCHW)
        return torch.where(logits_BK.isfinite().all(dim=1), logits_BK.argmax(dim=1), NO_CLASS)


def ready_voter(network: nn.Module, config: EngineConfig) -> Voter:
    """A copy of the network in eval mode, folded, cast and laid out as the config says.

    Raises InternalError.
    """
    dtype = DTYPES[config.precision]
    memory_format = torch.channels_last if config.channels_last else torch.contiguous_format
    ready = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
    if config.folded:
        ready = fold_batch_norm(ready)
    ready = ready.to(dtype=dtype)
    ready = ready.to(memory_format=memory_format)
    return Voter(ready, dtype, memory_format).eval()


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """Fold batch norm into the convolution before it. This changes rounding, but deterministically.

    network: in eval mode; changed in place if it is a graph of torch.export. Raises InternalError.
    """
    if isinstance(network, fx.GraphModule):
        return _fold_exported(network)
    if not has_batch_norm(network):
        return network
    try:
        return fuse(network)
    except Exception as error:  # symbolic tracing of an unknown network may raise anything
        raise InternalError(f"This network can't be traced to fold its batch norm: {error}") from error


def _fold_exported(network: fx.GraphModule) -> fx.GraphModule:
    for norm in network.graph.find_nodes(op="call_function", target=torch.ops.aten.batch_norm.default):
        convolution = norm.args[0]
        if _can_fold(convolution, norm):
            weight, bias = _folded(network, convolution, norm)
            with network.graph.inserting_before(convolution):
                held = [
                    _hold(network, f"{norm.name}_{name}", value)
                    for name, value in (("w", weight), ("b", bias))
                ]
            convolution.args = (convolution.args[0], *held, *convolution.args[3:])
            norm.replace_all_uses_with(convolution)
            network.graph.erase_node(norm)
    network.recompile()
    return network


def _can_fold(convolution: fx.Node, norm: fx.Node) -> bool:
    """Whether nothing else uses the convolution, and all of both is constant."""
    if convolution.target is not torch.ops.aten.conv2d.default or len(convolution.users) != 1:
        return False
    constants = [*convolution.args[1:3], *norm.args[1:5]]
    held = all(
        value is None or (isinstance(value, fx.Node) and value.op == "get_attr") for value in constants
    )
    return held and not (convolution.kwargs or norm.kwargs or norm.args[5])


def _folded(
    network: fx.GraphModule, convolution: fx.Node, norm: fx.Node
) -> tuple[nn.Parameter, nn.Parameter]:
    """The weight and bias of the convolution with the norm in it."""
    weight, bias = (_value(network, node) for node in (*convolution.args[1:3], None)[:2])
    scale, shift, mean, variance = (_value(network, node) for node in norm.args[1:5])
    return fuse_conv_bn_weights(weight, bias, mean, variance, norm.args[7], scale, shift)  # type: ignore[arg-type]


def _value(network: fx.GraphModule, node: Any) -> Tensor | None:
    return None if node is None else operator.attrgetter(str(node.target))(network)


def _hold(network: fx.GraphModule, name: str, value: Tensor) -> fx.Node:
    network.register_buffer(name, value.detach())
    return network.graph.get_attr(name)


def has_batch_norm(network: nn.Module) -> bool:
    return any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def compile_voter(voter: nn.Module, options: dict[str, bool] | None = None) -> None:
    """Compile in place for one fixed shape, at the first call.

    Kernels are not chosen by timing: another process
    might choose others, and so be another base classifier.

    Every engine recompiles the same forward. Beyond its limit (8) torch silently runs uncompiled, which would
    be another base classifier; so the limit is raised, and exceeding it is an error.
    """
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _MAX_COMPILED)
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    voter.compile(dynamic=False, options={"deterministic": True, **(options or {})})


class EagerVoter:
    """A BatchVoter on the CPU, eager or compiled, on `config.threads` threads."""

    slots = 1

    def __init__(self, network: nn.Module, shape_CHW: Shape, num_classes: int, config: EngineConfig) -> None:
        channels, height, width = shape_CHW
        self.num_classes = num_classes
        self.shape_BHWC = (config.batch, height, width, channels)
        self._threads = config.threads
        self._run: nn.Module = ready_voter(network, config)
        if config.backend == "compile":
            # freezing makes weights constants and removes batch norm and conversions around bf16 kernels.
            compile_voter(self._run, {"freezing": True})
        self._classes = np.empty(0, dtype=np.int64)
        self.start(0, torch.zeros(self.shape_BHWC, dtype=torch.int16))

    def start(self, slot: int, pixels_BHWC: Tensor) -> None:
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        with torch.no_grad():
            self._classes = self._run(pixels_BHWC).numpy()

    def classes(self, slot: int) -> NDArray[np.int64]:
        return self._classes
