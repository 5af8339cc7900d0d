"""Attributes, inputs and sizes of an ONNX node, as the operators read them; and the operators on sizes.

Graphs compute shapes with those. Sizes may depend on the batch.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smoothcert.errors import BadModelFile
from smoothcert.models.onnx.graph import OnnxNode
from smoothcert.models.onnx.translation import BatchSize, Operator, Sizes, Translation, Value

_END = 2**31  # slices name a larger number for the end
_WHOLE_TYPES = 6, 7, 12, 13


def option(node: OnnxNode, name: str, default: Any) -> Any:
    """An attribute, or its default."""
    return node.attributes.get(name, default)


def given(inputs: Sequence[Any], index: int) -> Any:
    """An optional input, or None."""
    return inputs[index] if index < len(inputs) else None


def numbers(value: Any) -> list[Any]:
    """The numbers in a constant. Raises BadModelFile if they depend on the pixels or the batch."""
    if isinstance(value, Value):
        raise BadModelFile("a shape or an index depends on the pixels")
    if isinstance(value, np.ndarray):
        raise BadModelFile("a parameter depends on the size of the batch")
    return list(value.flatten().tolist())


def sizes(value: Any) -> list[int | BatchSize]:
    """Sizes, which may depend on the batch."""
    return list(value.flatten()) if isinstance(value, np.ndarray) else numbers(value)


def dims_of(x: Any) -> list[int | BatchSize]:
    """The shape of a result or a constant."""
    if isinstance(x, Value):
        return x.dims
    return list(x.shape)


def axis_of(node: OnnxNode, rank: int, default: int) -> int:
    """The attribute `axis`, counted from the front."""
    return front(int(option(node, "axis", default)), rank)


def front(axis: int, rank: int) -> int:
    """An axis counted from the front. Raises BadModelFile."""
    if not -max(rank, 1) <= axis < max(rank, 1):
        raise BadModelFile(f"axis {axis} of {rank}")
    return axis % max(rank, 1)


def as_sizes(values: Any) -> Tensor | Sizes:
    """A constant where no size depends on the batch, else an array of int and BatchSize."""
    array: Sizes = np.empty(np.shape(values), dtype=object)
    array[...] = values
    flat = list(array.flatten())
    if any(isinstance(value, BatchSize) for value in flat):
        return array
    return torch.tensor(flat, dtype=torch.bool if _are_truths(flat) else torch.int64).reshape(array.shape)


def _are_truths(values: Sequence[Any]) -> bool:
    return bool(values) and all(isinstance(value, bool | np.bool_) for value in values)


def shape_of(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    dims = dims_of(inputs[0])
    end = option(node, "end", None)
    return as_sizes(dims[int(option(node, "start", 0)) : None if end is None else int(end)])


def size_of(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    first, *others = dims_of(inputs[0])
    per_image = math.prod([size for size in others if isinstance(size, int)])
    return as_sizes(first * per_image)


def constant_of_shape(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    value = option(node, "value", torch.zeros(1))
    return t.method("expand", value.reshape(()), sizes(inputs[0]))


def constant(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    for name in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        if name in node.attributes:
            value = node.attributes[name]
            return value if isinstance(value, Tensor) else torch.tensor(value)
    raise BadModelFile("it holds no numbers")


def number_range(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    start, stop, step = (sizes(value)[0] for value in inputs)
    if isinstance(stop, BatchSize) and (start, step) == (0, 1):
        return t.count(stop)
    start, stop, step = (numbers(value)[0] for value in inputs)
    if not step or (stop - start) / step > _END:
        raise BadModelFile("it counts too far")
    return torch.arange(start, stop, step) if (stop - start) / step > 0 else torch.zeros(0, dtype=torch.int64)


def _objects(value: Any) -> Any:
    if isinstance(value, Tensor):
        array: Sizes = np.empty(tuple(value.shape), dtype=object)
        array[...] = np.array(value.tolist(), dtype=object)
        return array
    if isinstance(value, Value):
        raise BadModelFile("it mixes sizes with pixels")
    return value


def _on_sizes(function: Callable[..., Any]) -> Operator:
    """The same operator on sizes that depend on the batch."""
    return lambda t, node, inputs: as_sizes(function(node, *map(_objects, inputs)))


def _equal(node: OnnxNode, a: Sizes, b: Sizes) -> Any:
    for left, right in zip(*(np.broadcast_arrays(a, b)), strict=True):
        if (
            isinstance(left, BatchSize) is not isinstance(right, BatchSize)
            and max(x for x in (left, right) if not isinstance(x, BatchSize)) > 0
        ):
            raise BadModelFile("the graph compares the size of the batch")
    return np.equal(a, b)


def _size_slice(node: OnnxNode, x: Sizes, *rest: Sizes) -> Any:
    starts, ends, *_ = rest or (option(node, "starts", (0,)), option(node, "ends", (_END,)))
    step = int(rest[3][0]) if len(rest) > 3 else 1
    return x[int(starts[0]) : int(ends[0]) : step]


def _size_cast(node: OnnxNode, x: Sizes) -> Any:
    if int(option(node, "to", 7)) not in _WHOLE_TYPES:
        raise BadModelFile("the graph computes with the size of the batch")
    return x


def _first_axes(node: OnnxNode, rest: Sequence[Sizes]) -> tuple[int, ...]:
    return tuple(int(a) for a in (rest[0] if rest else option(node, "axes", (0,))))


SIZES: dict[str, Operator] = {
    "Shape": _on_sizes(lambda node, x: np.array(np.shape(x), dtype=object)),
    "Add": _on_sizes(lambda node, a, b: a + b),
    "Sub": _on_sizes(lambda node, a, b: a - b),
    "Mul": _on_sizes(lambda node, a, b: a * b),
    "Div": _on_sizes(lambda node, a, b: a // b),
    "Equal": _on_sizes(_equal),
    "Where": _on_sizes(lambda node, c, a, b: np.where(np.asarray(c, dtype=bool), a, b)),
    "Concat": _on_sizes(lambda node, *parts: np.concatenate(parts)),
    "Gather": _on_sizes(lambda node, x, places: x[np.asarray(places, dtype=np.int64)]),
    "Slice": _on_sizes(_size_slice),
    "Squeeze": _on_sizes(lambda node, x, *rest: np.squeeze(x, _first_axes(node, rest))),
    "Unsqueeze": _on_sizes(lambda node, x, *rest: np.expand_dims(x, _first_axes(node, rest))),
    "Reshape": _on_sizes(lambda node, x, target: x.reshape([int(size) for size in target])),
    "ReduceProd": _on_sizes(lambda node, x, *rest: np.array([math.prod(x)], dtype=object)),
    "Cast": _on_sizes(_size_cast),
    "Identity": lambda t, node, inputs: inputs[0],
}

MAKING_SIZES: dict[str, Operator] = {
    "Shape": shape_of, "Size": size_of, "ConstantOfShape": constant_of_shape, "Constant": constant,
    "Range": number_range,
}  # fmt: skip
