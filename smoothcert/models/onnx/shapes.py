"""The ONNX operators that move numbers: shapes, slices, joins, padding."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from smoothcert.errors import BadModelFile
from smoothcert.models.onnx.arithmetic import reshape_to
from smoothcert.models.onnx.graph import OnnxNode
from smoothcert.models.onnx.sizes import axis_of, dims_of, front, given, numbers, option, sizes
from smoothcert.models.onnx.translation import BATCHES, BatchSize, Operator, Translation, Value, at

_PADDING = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}
_END = 2**31  # slices name a larger number for the end


def reshape(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    x, target = inputs[0], sizes(inputs[1])
    dims = dims_of(x)
    if not option(node, "allowzero", 0):
        target = [dims[i] if size == 0 and i < len(dims) else size for i, size in enumerate(target)]
    if isinstance(x, Value) and t.static_batch and not any(isinstance(s, BatchSize) for s in target):
        target = _with_free_batch(dims, target, t.static_batch)
    return reshape_to(t, x, target)


def _with_free_batch(
    dims: Sequence[int | BatchSize], target: list[int | BatchSize], batch: int
) -> list[int | BatchSize]:
    """The shape for any batch, where the file was exported for one of a fixed size."""
    by_batch = [index for index, size in enumerate(dims) if isinstance(size, BatchSize)]
    if len(by_batch) != 1 or by_batch[0] >= len(target):
        return target
    place, size = by_batch[0], target[by_batch[0]]
    if not isinstance(size, int) or size < 1 or size % batch:
        return target
    return [*target[:place], BatchSize(size // batch), *target[place + 1 :]]


def flatten(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    x = inputs[0]
    rank = len(dims_of(x))
    axis = int(option(node, "axis", 1))
    axis = axis + rank if axis < 0 else axis
    if axis == 1 and isinstance(x, Value) and rank > 1:
        return t.layer(torch.nn.Flatten(), x)
    shapes = []
    for batch in BATCHES:
        shape = [at(size, batch) for size in dims_of(x)]
        shapes.append([math.prod(shape[:axis]), math.prod(shape[axis:])])
    return reshape_to(t, x, [BatchSize.through(two, three) for two, three in zip(*shapes, strict=True)])


def transpose(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    rank = len(dims_of(inputs[0]))
    return t.method("permute", inputs[0], list(option(node, "perm", range(rank)[::-1])))


def _axes(node: OnnxNode, inputs: Sequence[Any]) -> list[int]:
    axes = given(inputs, 1)
    return [int(axis) for axis in (option(node, "axes", ()) if axes is None else numbers(axes))]


def squeeze(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    dims = dims_of(inputs[0])
    axes = {front(axis, len(dims)) for axis in _axes(node, inputs)} or {
        i for i, d in enumerate(dims) if d == 1
    }
    if any(
        dims[axis] != 1 and not (t.static_batch == 1 and isinstance(dims[axis], BatchSize)) for axis in axes
    ):
        raise BadModelFile("it removes a dimension that is not one")
    if any(dims[axis] != 1 for axis in axes):
        raise BadModelFile("it removes the batch")
    return reshape_to(t, inputs[0], [size for axis, size in enumerate(dims) if axis not in axes])


def unsqueeze(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    axes = _axes(node, inputs)
    rank = len(dims_of(inputs[0])) + len(axes)
    left = iter(dims_of(inputs[0]))
    wanted = {front(axis, rank) for axis in axes}
    return reshape_to(t, inputs[0], [1 if axis in wanted else next(left) for axis in range(rank)])


def concat(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    rank = len(dims_of(inputs[0]))
    axis = axis_of(node, rank, 0)
    parts = [part for part in inputs if isinstance(part, Value) or math.prod(part.shape)]
    shaped = [part for part in parts if isinstance(part, Value)]
    if t.static_batch == 1 and shaped and axis > 0 and isinstance(shaped[0].dims[0], BatchSize):
        parts = [_for_each_image(t, part, shaped[0].dims[0]) for part in parts]
    return t.call(torch.cat, parts, axis)


def _for_each_image(t: Translation, part: Any, batch: BatchSize) -> Any:
    """A constant that was exported for a batch of one, repeated."""
    if isinstance(part, Value) or part.shape[0] != 1:
        return part
    return t.method("expand", part, [batch, *part.shape[1:]])


def split(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    x, lengths = inputs[0], given(inputs, 1)
    dims = dims_of(x)
    axis = axis_of(node, len(dims), 0)
    lengths = option(node, "split", None) if lengths is None else numbers(lengths)
    if lengths is None:
        parts, whole = len(node.outputs), dims[axis]
        if not isinstance(whole, int):
            raise BadModelFile("it splits the batch")
        length = -(-whole // parts)
        lengths = [length] * (parts - 1) + [whole - length * (parts - 1)]
    if sum(lengths) != dims[axis] or min(lengths) < 0 or len(lengths) < len(node.outputs):
        raise BadModelFile(f"its parts {list(lengths)} are not {dims[axis]} in all")
    starts = np.cumsum([0, *lengths[:-1]]).tolist()
    return tuple(
        t.call(torch.narrow, x, axis, start, int(length))
        for start, length in zip(starts, lengths, strict=True)
    )


def slices(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    x = inputs[0]
    if len(inputs) > 1:
        starts, ends = numbers(inputs[1]), sizes(inputs[2])
    else:
        starts, ends = list(option(node, "starts", ())), list(option(node, "ends", ()))
    axes = numbers(inputs[3]) if given(inputs, 3) is not None else option(node, "axes", range(len(starts)))
    steps = numbers(inputs[4]) if given(inputs, 4) is not None else [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        x = _sliced(t, x, front(int(axis), len(dims_of(x))), (start, end, step))
    return x


def _sliced(t: Translation, x: Any, axis: int, part: tuple[int, int | BatchSize, int]) -> Any:
    length, (start, end, step) = dims_of(x)[axis], part
    if isinstance(length, BatchSize) or isinstance(end, BatchSize):
        if start == 0 and step == 1 and (end == length or (isinstance(end, int) and end >= _END)):
            return x
        if t.static_batch == 1 and (start, end, step) == (0, 1, 1):
            return x
        raise BadModelFile("it takes a part of the batch")
    places = list(range(*slice(start, end, step).indices(length))) if step else []
    if step > 0:
        first, count = (places[0], len(places)) if places else (0, 0)
        if step == 1:
            return t.call(torch.narrow, x, axis, first, count)
    return t.call(torch.index_select, x, axis, torch.tensor(places, dtype=torch.int64))


def gather(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    x, places = inputs
    dims = dims_of(x)
    axis = axis_of(node, len(dims), 0)
    if isinstance(places, Value) and places.counts and axis == 0:
        return t.call(_picked, x, places)
    indices, length = numbers(places), dims[axis]
    if not isinstance(length, int):
        raise BadModelFile("it takes a part of the batch")
    if any(not -length <= index < length for index in indices):
        raise BadModelFile(f"an index is beyond the {length} numbers that there are")
    if places.ndim == 0:
        return t.call(torch.select, x, axis, indices[0] % length)
    chosen = torch.tensor([index % length for index in indices], dtype=torch.int64)
    picked = t.call(torch.index_select, x, axis, chosen)
    return reshape_to(t, picked, [*dims[:axis], *places.shape, *dims[axis + 1 :]])


def _picked(x: Tensor, places: Tensor) -> Tensor:
    return x[places]


def scatter_nd(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    x, places, updates = inputs
    if option(node, "reduction", "none") != "none" or not isinstance(places, Tensor):
        raise BadModelFile("it adds up numbers, or its places depend on the pixels")
    dims = [size for size in dims_of(x) if isinstance(size, int)]
    if len(dims) < places.shape[-1] or places.shape[-1] == 0 or _outside(places, dims):
        raise BadModelFile("its places are not within the tensor")
    return t.call(_put, x, places, updates)


def _outside(places: Tensor, dims: Sequence[int]) -> bool:
    lengths = torch.tensor(dims[: places.shape[-1]])
    return bool(((places >= lengths) | (places < -lengths)).any())


def _put(x: Tensor, places: Tensor, updates: Tensor) -> Tensor:
    return torch.index_put(x, tuple(places.unbind(-1)), updates)


def pad(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    x, amounts = inputs[0], given(inputs, 1)
    amounts = list(option(node, "pads", ())) if amounts is None else numbers(amounts)
    filling = given(inputs, 2)
    value = float(option(node, "value", 0.0)) if filling is None else float(numbers(filling)[0])
    rank, mode = len(dims_of(x)), _PADDING.get(str(option(node, "mode", "constant")))
    axes = given(inputs, 3)
    axes = range(rank) if axes is None else [front(int(axis), rank) for axis in numbers(axes)]
    if mode is None or len(amounts) != 2 * len(axes):
        raise BadModelFile("its padding is none")
    pairs = dict(zip(axes, zip(amounts, amounts[len(axes) :], strict=False), strict=True))
    return padded(t, x, [pairs.get(axis, (0, 0)) for axis in range(rank)], value, mode)


def padded(
    t: Translation, x: Any, pairs: Sequence[tuple[int, int]], value: float, mode: str = "constant"
) -> Any:
    """x with that many numbers more before and behind, by dimension."""
    pairs = list(pairs)
    padded_dims = [axis for axis, pair in enumerate(pairs) if pair != (0, 0)]
    if not padded_dims:
        return x
    if isinstance(dims_of(x)[padded_dims[0]], BatchSize):
        raise BadModelFile("it pads the batch")
    first = padded_dims[0] if mode == "constant" else max(2, min(padded_dims[0], len(pairs) - 2))
    flat = [amount for pair in reversed(pairs[first:]) for amount in pair]
    if mode == "constant":
        return t.call(F.pad, x, flat, mode, value)
    return t.call(F.pad, x, flat, mode)


def expand(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    x, target = inputs[0], sizes(inputs[1])
    shapes = []
    for batch in BATCHES:
        own, wanted = [tuple(at(size, batch) for size in shape) for shape in (dims_of(x), target)]
        shapes.append(np.broadcast_shapes(own, wanted))
    final = [BatchSize.through(two, three) for two, three in zip(*shapes, strict=True)]
    return x if final == dims_of(x) else t.method("expand", x, final)


def tile(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    return t.method("repeat", inputs[0], sizes(inputs[1]))


def triangle(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    diagonal = numbers(inputs[1])[0] if given(inputs, 1) is not None else 0
    return t.call(torch.triu if option(node, "upper", 1) else torch.tril, inputs[0], diagonal)


def cumulative_sum(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    if option(node, "exclusive", 0) or option(node, "reverse", 0):
        raise BadModelFile("it is exclusive or reversed")
    return t.call(torch.cumsum, inputs[0], front(numbers(inputs[1])[0], len(dims_of(inputs[0]))))


def depth_to_space(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    b, c, h, w = dims_of(inputs[0])
    k = int(option(node, "blocksize", 1))
    assert isinstance(c, int)
    crd = option(node, "mode", "DCR") == "CRD"
    inner, order = ([c // k**2, k, k], [0, 1, 4, 2, 5, 3]) if crd else ([k, k, c // k**2], [0, 3, 4, 1, 5, 2])
    spread = t.method("permute", reshape_to(t, inputs[0], [b, *inner, h, w]), order)
    return reshape_to(t, spread, [b, c // k**2, h * k, w * k])


def space_to_depth(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    b, c, h, w = dims_of(inputs[0])
    k = int(option(node, "blocksize", 1))
    assert isinstance(c, int)
    assert isinstance(h, int)
    assert isinstance(w, int)
    spread = t.method("permute", reshape_to(t, inputs[0], [b, c, h // k, k, w // k, k]), [0, 3, 5, 1, 2, 4])
    return reshape_to(t, spread, [b, c * k * k, h // k, w // k])


SHAPES: dict[str, Operator] = {
    "Reshape": reshape, "Flatten": flatten, "Transpose": transpose, "Squeeze": squeeze,
    "Unsqueeze": unsqueeze, "Concat": concat, "Split": split, "Slice": slices, "Gather": gather,
    "ScatterND": scatter_nd, "Pad": pad, "Expand": expand, "Tile": tile, "Trilu": triangle,
    "CumSum": cumulative_sum, "DepthToSpace": depth_to_space, "SpaceToDepth": space_to_depth,
}  # fmt: skip
