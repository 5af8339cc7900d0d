"""Turns the graph of an ONNX file into a PyTorch network that every back end runs.

The batch is left free: each size is known for a batch of two and of three, so it is a number or a multiple of
the batch (`BatchSize`). Constants are folded. Nothing of the file becomes Python text but numbers.
"""

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.func import functional_call

from smoothcert.errors import BadModelFile
from smoothcert.models.onnx.graph import OnnxNode

BATCHES = 2, 3  # the batch sizes for which shapes are computed
MAX_NUMBERS = 2**27  # of one intermediate result, for one image
MAX_CONSTANT = 2**26  # numbers in a constant that is computed while loading
MAX_WORK = 10.0**13  # product of the sizes of what a constant is computed from

Sizes = NDArray[np.object_]  # of int and BatchSize: a list of sizes as the graph computes with it


@dataclass(frozen=True)
class BatchSize:
    """The number `per_image * B + fixed`, where B is the batch."""

    per_image: int
    fixed: int = 0

    @classmethod
    def through(cls, at_two: int, at_three: int) -> "int | BatchSize":
        """The size that has these values for a batch of two and of three."""
        slope = at_three - at_two
        return cls(slope, at_two - 2 * slope) if slope else at_two

    def __str__(self) -> str:
        return "batch" if self == BatchSize(1) else f"{self.per_image} for each image"

    def at(self, batch: int) -> int:
        return self.per_image * batch + self.fixed

    def __add__(self, other: "int | BatchSize") -> "int | BatchSize":
        return _through(operator.add, self, other)

    def __radd__(self, other: int) -> "int | BatchSize":
        return _through(operator.add, other, self)

    def __sub__(self, other: "int | BatchSize") -> "int | BatchSize":
        return _through(operator.sub, self, other)

    def __rsub__(self, other: int) -> "int | BatchSize":
        return _through(operator.sub, other, self)

    def __mul__(self, other: int) -> "int | BatchSize":
        return _through(operator.mul, self, other)

    __rmul__ = __mul__

    def __floordiv__(self, other: int) -> "int | BatchSize":
        return _through(operator.floordiv, self, other)

    def __lt__(self, other: int) -> bool:
        raise BadModelFile("the graph compares the size of the batch")

    __gt__ = __le__ = __ge__ = __lt__


def _through(
    function: Callable[[Any, Any], int], left: "int | BatchSize", right: "int | BatchSize"
) -> "int | BatchSize":
    results = [function(at(left, batch), at(right, batch)) for batch in (*BATCHES, 5)]
    result = BatchSize.through(*results[:2])
    if at(result, 5) != results[2]:
        raise BadModelFile("the graph computes with the size of the batch in a way that is not read")
    return result


def at(size: "int | BatchSize", batch: int) -> int:
    """The size for this batch."""
    return size.at(batch) if isinstance(size, BatchSize) else int(size)


@dataclass(frozen=True)
class Value:
    """A result that depends on the images: its node, and it for both BATCHES without memory.

    counts: whole numbers that depend on how many images there are, not on their pixels.
    """

    node: fx.Node
    metas: tuple[Tensor, Tensor]
    counts: bool = False

    @property
    def dims(self) -> list[int | BatchSize]:
        """The size of every dimension."""
        return [
            BatchSize.through(two, three) for two, three in zip(*(m.shape for m in self.metas), strict=True)
        ]

    @property
    def is_float(self) -> bool:
        return self.metas[0].is_floating_point()


@dataclass
class Translation:
    """The network as far as it is built. static_batch: the batch that the file fixes, if it does."""

    opset: int
    static_batch: int | None
    root: nn.Module = field(default_factory=nn.Module)
    graph: fx.Graph = field(default_factory=fx.Graph)

    def __post_init__(self) -> None:
        self._kept: dict[int, tuple[Tensor, fx.Node]] = {}  # constants by id; held, so that ids stay unique
        self._sizes: dict[BatchSize, fx.Node] = {}

    def image(self, shape_CHW: tuple[int, int, int]) -> Value:
        """The network's input, (B,C,H,W)."""
        two, three = (torch.empty((batch, *shape_CHW), device="meta") for batch in BATCHES)
        self.input = self.graph.placeholder("images_BCHW")
        return Value(self.input, (two, three))

    def call(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Adds a call of a function of tensors; one whose arguments are all constants is done at once."""
        if not any(isinstance(arg, Value | BatchSize) for arg in _flat(args)):
            return _folded(function, args, options)
        metas = [function(*(_map(arg, _meta_at(i)) for arg in args), **options) for i in (0, 1)]
        for batch, meta in zip(BATCHES, metas, strict=True):
            if meta.numel() > batch * MAX_NUMBERS:
                raise BadModelFile(f"its result has {meta.numel() // batch} numbers for one image")
        nodes = tuple(_map(arg, self._as_node) for arg in args)
        counts = all(arg.counts for arg in _flat(args) if isinstance(arg, Value))
        return Value(self.graph.call_function(function, nodes, options), (metas[0], metas[1]), counts)

    def count(self, stop: BatchSize) -> Value:
        """The numbers from 0 up to a size that depends on the batch."""
        metas = [torch.arange(stop.at(batch), device="meta") for batch in BATCHES]
        node = self.graph.call_function(_count, (self.input, self._size(stop)))
        return Value(node, (metas[0], metas[1]), counts=True)

    def method(self, name: str, *args: Any) -> Any:
        """Adds a call of a tensor's method, such as reshape with sizes that depend on the batch."""
        return self.call(getattr(torch.Tensor, name), *args)

    def layer(self, module: nn.Module, x: Value) -> Value:
        """Adds a layer with its weights, in the form that folding and quantizing recognise."""
        weights = {name: tensor.to("meta") for name, tensor in module.state_dict().items()}
        metas = [functional_call(module, weights, (meta,)) for meta in x.metas]
        for batch, meta in zip(BATCHES, metas, strict=True):
            if meta.numel() > batch * MAX_NUMBERS:
                raise BadModelFile(f"its result has {meta.numel() // batch} numbers for one image")
        name = f"layer{len(self.graph.nodes)}"
        self.root.add_module(name, module.eval().requires_grad_(requires_grad=False))
        return Value(self.graph.call_module(name, (x.node,)), (metas[0], metas[1]))

    def _as_node(self, arg: Any) -> Any:
        if isinstance(arg, Value):
            return arg.node
        if isinstance(arg, BatchSize):
            return self._size(arg)
        return self._constant(arg) if isinstance(arg, Tensor) else arg

    def _constant(self, tensor: Tensor) -> fx.Node:
        if id(tensor) not in self._kept:
            name = f"constant{len(self._kept)}"
            self.root.register_buffer(name, tensor)
            self._kept[id(tensor)] = tensor, self.graph.get_attr(name)
        return self._kept[id(tensor)][1]

    def _size(self, size: BatchSize) -> fx.Node:
        if size not in self._sizes:
            batch = self.graph.call_method("size", (self.input, 0))
            node = (
                self.graph.call_function(operator.mul, (batch, size.per_image))
                if size.per_image != 1
                else batch
            )
            node = self.graph.call_function(operator.add, (node, size.fixed)) if size.fixed else node
            self._sizes[size] = node
        return self._sizes[size]

    def finished(self, scores: Value) -> fx.GraphModule:
        """The network whose answer these scores are."""
        self.graph.output(scores.node)
        network = fx.GraphModule(self.root, self.graph)
        network.graph.eliminate_dead_code()
        network.delete_all_unused_submodules()
        network.recompile()
        return network.eval()


def _count(images_BCHW: Tensor, stop: int) -> Tensor:
    return torch.arange(stop, device=images_BCHW.device)


def _folded(function: Callable[..., Any], args: Sequence[Any], options: dict[str, Any]) -> Any:
    tensors = [arg for arg in _flat(args) if isinstance(arg, Tensor)]
    if math.prod(max(1.0, t.numel()) for t in tensors) > MAX_WORK:
        raise BadModelFile("computing this constant takes too long")
    expected = function(*(_map(arg, _meta_at(0)) for arg in args), **options)
    if isinstance(expected, Tensor) and expected.numel() > MAX_CONSTANT:
        raise BadModelFile(f"it makes a constant of {expected.numel()} numbers")
    with torch.no_grad():
        return function(*args, **options)


def _meta_at(index: int) -> Callable[[Any], Any]:
    def meta(arg: Any) -> Any:
        if isinstance(arg, Value):
            return arg.metas[index]
        if isinstance(arg, BatchSize):
            return arg.at(BATCHES[index])
        return arg.to("meta") if isinstance(arg, Tensor) else arg

    return meta


def _map(arg: Any, function: Callable[[Any], Any]) -> Any:
    if isinstance(arg, list | tuple):
        return type(arg)(_map(item, function) for item in arg)
    return function(arg)


def _flat(args: Sequence[Any]) -> list[Any]:
    flat: list[Any] = []
    for arg in args:
        flat += _flat(arg) if isinstance(arg, list | tuple) else [arg]
    return flat


Operator = Callable[[Translation, OnnxNode, Sequence[Any]], Any]  # one result, or a tuple of several
