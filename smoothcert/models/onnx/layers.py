"""The ONNX operators with weights or windows: convolution, pooling, normalisation, resizing."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smoothcert.errors import BadModelFile
from smoothcert.models.onnx.graph import OnnxNode
from smoothcert.models.onnx.shapes import padded
from smoothcert.models.onnx.sizes import axis_of, dims_of, given, numbers, option, sizes
from smoothcert.models.onnx.translation import BatchSize, Operator, Translation, Value

Pairs = list[tuple[int, int]]  # numbers added before and behind, by dimension

_CONVOLUTIONS = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}
_TRANSPOSED = {3: F.conv_transpose1d, 4: F.conv_transpose2d, 5: F.conv_transpose3d}
_MAX_POOLS = {3: F.max_pool1d, 4: F.max_pool2d, 5: F.max_pool3d}
_AVERAGE_POOLS = {3: F.avg_pool1d, 4: F.avg_pool2d, 5: F.avg_pool3d}


def _ints(node: OnnxNode, name: str, rank: int, default: int) -> list[int]:
    values = [int(v) for v in option(node, name, [default] * (rank - 2))]
    if len(values) != rank - 2 or min(values, default=1) < 1:
        raise BadModelFile(f"its {name} are {values}")
    return values


def _spatial(x: Any) -> list[int]:
    """The sizes behind batch and channels."""
    dims = dims_of(x)[2:]
    if not dims or len(dims) > 3:
        raise BadModelFile(f"it takes one to three dimensions, not {len(dims)}")
    if any(isinstance(size, BatchSize) for size in dims):
        raise BadModelFile("it runs over the batch")
    return [int(size) for size in dims]  # type: ignore[arg-type]


def _padding(
    node: OnnxNode, x: Any, kernel: Sequence[int], strides: Sequence[int], steps: Sequence[int]
) -> Pairs:
    """Padding by dimension, also where the file says SAME."""
    auto = str(option(node, "auto_pad", "NOTSET"))
    if auto == "NOTSET":
        pads = [int(pad) for pad in option(node, "pads", [0] * 2 * len(kernel))]
        if len(pads) != 2 * len(kernel):
            raise BadModelFile(f"its pads are {pads}")
        return list(zip(pads, pads[len(kernel) :], strict=False))
    if auto == "VALID":
        return [(0, 0)] * len(kernel)
    pairs = []
    for size, k, stride, step in zip(_spatial(x), kernel, strides, steps, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + step * (k - 1) + 1 - size)
        small, large = total // 2, total - total // 2
        pairs.append((small, large) if auto == "SAME_UPPER" else (large, small))
    return pairs


def conv(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    x, weight, bias = inputs[0], inputs[1], given(inputs, 2)
    rank = 2 + len(_spatial(x))
    kernel = [int(size) for size in dims_of(weight)[2:]]  # type: ignore[arg-type]
    strides, steps = _ints(node, "strides", rank, 1), _ints(node, "dilations", rank, 1)
    groups = int(option(node, "group", 1))
    pairs = _padding(node, x, kernel, strides, steps)
    if all(before == behind >= 0 for before, behind in pairs):
        around = [before for before, _ in pairs]
    else:
        x, around = padded(t, x, [(0, 0), (0, 0), *pairs], 0.0), [0] * len(pairs)
    constant = isinstance(weight, Tensor) and (bias is None or isinstance(bias, Tensor))
    if rank == 4 and constant and isinstance(x, Value) and weight.ndim == 4 and groups > 0:
        layer = nn.Conv2d(
            weight.shape[1] * groups, weight.shape[0], _two(kernel), _two(strides), _two(around), _two(steps),
            groups, bias is not None, device="meta",
        )  # fmt: skip
        return t.layer(_with_weights(layer, weight, bias), x)
    return t.call(_CONVOLUTIONS[rank], x, weight, bias, strides, around, steps, groups)


def _two(values: Sequence[int]) -> tuple[int, int]:
    first, second = values
    return first, second


def _with_weights(layer: nn.Conv2d, weight: Tensor, bias: Tensor | None) -> nn.Module:
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias, requires_grad=False)
    return layer


def conv_transpose(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    x, weight, bias = inputs[0], inputs[1], given(inputs, 2)
    rank = 2 + len(_spatial(x))
    if "output_shape" in node.attributes or option(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise BadModelFile("its padding is not given as numbers")
    strides, steps = _ints(node, "strides", rank, 1), _ints(node, "dilations", rank, 1)
    pads = [int(pad) for pad in option(node, "pads", [0] * 2 * (rank - 2))]
    extra = [int(pad) for pad in option(node, "output_padding", [0] * (rank - 2))]
    if pads[: rank - 2] != pads[rank - 2 :]:
        raise BadModelFile("its padding is not the same on both sides")
    groups = int(option(node, "group", 1))
    return t.call(_TRANSPOSED[rank], x, weight, bias, strides, pads[: rank - 2], extra, groups, steps)


def max_pool(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    x, rank = inputs[0], 2 + len(_spatial(inputs[0]))
    kernel, strides = _ints(node, "kernel_shape", rank, 0), _ints(node, "strides", rank, 1)
    steps, ceil = _ints(node, "dilations", rank, 1), bool(option(node, "ceil_mode", 0))
    pairs = _padding(node, x, kernel, strides, steps)
    if all(0 <= before == behind <= k // 2 for (before, behind), k in zip(pairs, kernel, strict=True)):
        around = [before for before, _ in pairs]
    else:
        x, around = padded(t, x, [(0, 0), (0, 0), *pairs], -math.inf), [0] * len(pairs)
    if rank == 4 and isinstance(x, Value):
        pool = nn.MaxPool2d(tuple(kernel), tuple(strides), tuple(around), tuple(steps), ceil_mode=ceil)
        return t.layer(pool, x)
    return t.call(_MAX_POOLS[rank], x, kernel, strides, around, steps, ceil)


def average_pool(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    x, rank = inputs[0], 2 + len(_spatial(inputs[0]))
    kernel, strides = _ints(node, "kernel_shape", rank, 0), _ints(node, "strides", rank, 1)
    if any(step != 1 for step in _ints(node, "dilations", rank, 1)):
        raise BadModelFile("its windows have holes")
    counted, ceil = bool(option(node, "count_include_pad", 0)), bool(option(node, "ceil_mode", 0))
    pairs = _padding(node, x, kernel, strides, [1] * len(kernel))
    pool = _AVERAGE_POOLS[rank]
    if all(0 <= before == behind <= k // 2 for (before, behind), k in zip(pairs, kernel, strict=True)):
        return t.call(pool, x, kernel, strides, [before for before, _ in pairs], ceil, counted)
    whole: Pairs = [(0, 0), (0, 0), *pairs]
    sums = t.call(pool, padded(t, x, whole, 0.0), kernel, strides, 0, ceil)
    if counted:
        return sums
    inside = padded(t, torch.ones(1, 1, *_spatial(x)), whole, 0.0)
    return t.call(torch.div, sums, t.call(pool, inside, kernel, strides, 0, ceil))


def global_pool(function: Any) -> Operator:
    """A pool over everything behind batch and channels."""
    return lambda t, node, inputs: t.call(
        function, inputs[0], list(range(2, 2 + len(_spatial(inputs[0])))), True
    )


def batch_norm(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    x, *statistics = inputs
    trains = option(node, "training_mode", 0) or sum(map(bool, node.outputs)) > 1
    if trains or option(node, "spatial", 1) != 1:
        raise BadModelFile("batch norm uses the batch's own mean; export the network in evaluation mode")
    eps, rank = float(option(node, "epsilon", 1e-5)), len(dims_of(x))
    if not all(isinstance(part, Tensor) and part.ndim == 1 for part in statistics) or len(statistics) != 4:
        raise BadModelFile("its mean, variance, scale and shift are not four constants")
    scale, shift, mean, variance = statistics
    if rank == 4 and isinstance(x, Value):
        layer = nn.BatchNorm2d(len(scale), eps)
        layer.load_state_dict(
            {"weight": scale, "bias": shift, "running_mean": mean, "running_var": variance}, strict=False
        )
        return t.layer(layer.eval(), x)
    return t.call(F.batch_norm, x, mean, variance, scale, shift, False, 0.0, eps)


def instance_norm(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    x, scale, shift = inputs
    eps = float(option(node, "epsilon", 1e-5))
    return t.call(F.instance_norm, x, None, None, scale, shift, True, 0.0, eps)


def layer_norm(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    x, scale, shift = inputs[0], inputs[1], given(inputs, 2)
    dims = dims_of(x)
    normalized = dims[axis_of(node, len(dims), -1) :]
    if any(isinstance(size, BatchSize) for size in normalized):
        raise BadModelFile("it runs over the batch")
    plain = t.call(F.layer_norm, x, normalized, None, None, float(option(node, "epsilon", 1e-5)))
    if isinstance(scale, Tensor) and list(scale.shape) == normalized:
        return t.call(F.layer_norm, x, normalized, scale, shift, float(option(node, "epsilon", 1e-5)))
    scaled = t.call(torch.mul, plain, scale)
    return scaled if shift is None else t.call(torch.add, scaled, shift)


def group_norm(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    x, scale, shift = inputs
    channels, groups = dims_of(x)[1], int(option(node, "num_groups", 1))
    if t.opset < 21 and isinstance(channels, int) and groups and dims_of(scale) == [groups]:
        scale = t.method("repeat_interleave", scale, channels // groups)
        shift = t.method("repeat_interleave", shift, channels // groups)
    return t.call(F.group_norm, x, groups, scale, shift, float(option(node, "epsilon", 1e-5)))


def rms_norm(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    x, scale = inputs
    dims = dims_of(x)
    axes = list(range(axis_of(node, len(dims), -1), len(dims)))
    mean = t.call(torch.mean, t.call(torch.mul, x, x), axes, True)
    root = t.call(torch.rsqrt, t.call(torch.add, mean, float(option(node, "epsilon", 1e-5))))
    return t.call(torch.mul, t.call(torch.mul, x, root), scale)


def local_response_norm(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    size, alpha = int(option(node, "size", 1)), float(option(node, "alpha", 1e-4))
    beta, bias = float(option(node, "beta", 0.75)), float(option(node, "bias", 1.0))
    if size % 2 == 0:
        raise BadModelFile("its size is even")
    return t.call(F.local_response_norm, inputs[0], size, alpha, beta, bias)


def lp_norm(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    axis = axis_of(node, len(dims_of(inputs[0])), -1)
    return t.call(F.normalize, inputs[0], float(option(node, "p", 2)), axis)


def resize(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    """Nearest or linear, one dimension after the other, by the formulas of the specification."""
    x = inputs[0]
    dims = dims_of(x)
    scales, target = _resize_target(inputs, dims)
    mode = str(option(node, "mode", "nearest"))
    if mode not in ("nearest", "linear") or option(node, "antialias", 0) or "axes" in node.attributes:
        raise BadModelFile(f"{mode} with these options is not read")
    old = node.operator == "Upsample" or t.opset < 11
    for axis, (size, scale, new) in enumerate(zip(dims, scales, target, strict=True)):
        if new == size and scale == 1:
            continue
        if isinstance(size, BatchSize) or not 1 <= new <= 2**20:
            raise BadModelFile(f"it makes {new} of {size}")
        places = _places(node, size, new, scale, old)
        if mode == "nearest":
            x = t.call(torch.index_select, x, axis, _rounded(places, node, old).clamp(0, size - 1))
        else:
            x = _linear(t, x, axis, places, size)
    return x


def _resize_target(inputs: Sequence[Any], dims: Sequence[Any]) -> tuple[list[float], list[Any]]:
    scale_place = 1 if len(inputs) <= 2 else 2
    scales, wanted = given(inputs, scale_place), given(inputs, 3)
    if wanted is not None and wanted.shape != (0,):
        target = [d if isinstance(d, BatchSize) else n for n, d in zip(sizes(wanted), dims, strict=True)]
        return [1.0 if n == d else n / d for n, d in zip(target, dims, strict=True)], target
    factors = [float(scale) for scale in numbers(scales)]
    if len(factors) != len(dims):
        raise BadModelFile("its scales do not fit the dimensions")
    return factors, [d if s == 1 else math.floor(d * s) for d, s in zip(dims, factors, strict=True)]


def _places(node: OnnxNode, size: int, new: int, scale: float, old: bool) -> Tensor:
    """Where each new number lies among the old ones."""
    how = "asymmetric" if old else str(option(node, "coordinate_transformation_mode", "half_pixel"))
    index = torch.arange(new, dtype=torch.float64)
    if how == "align_corners":
        return index * (size - 1) / (new - 1) if new > 1 else torch.zeros(new, dtype=torch.float64)
    if how == "asymmetric":
        return index / scale
    if how == "half_pixel" or (how == "pytorch_half_pixel" and new > 1):
        return (index + 0.5) / scale - 0.5
    if how == "pytorch_half_pixel":
        return torch.zeros(new, dtype=torch.float64)
    raise BadModelFile(f"{how} is not read")


def _rounded(places: Tensor, node: OnnxNode, old: bool) -> Tensor:
    how = "floor" if old else str(option(node, "nearest_mode", "round_prefer_floor"))
    rounding: dict[str, Tensor] = {
        "floor": places.floor(),
        "ceil": places.ceil(),
        "round_prefer_floor": (places - 0.5).ceil(),
        "round_prefer_ceil": (places + 0.5).floor(),
    }
    if how not in rounding:
        raise BadModelFile(f"{how} is not read")
    return rounding[how].long()


def _linear(t: Translation, x: Any, axis: int, places: Tensor, size: int) -> Any:
    places = places.clamp(0, size - 1)
    low = places.floor().long()
    high = (low + 1).clamp(max=size - 1)
    share = (places - low).float().reshape([-1 if i == axis else 1 for i in range(len(dims_of(x)))])
    left = t.call(torch.mul, t.call(torch.index_select, x, axis, low), 1 - share)
    return t.call(torch.add, left, t.call(torch.mul, t.call(torch.index_select, x, axis, high), share))


LAYERS: dict[str, Operator] = {
    "Conv": conv, "ConvTranspose": conv_transpose, "MaxPool": max_pool, "AveragePool": average_pool,
    "GlobalAveragePool": global_pool(torch.mean), "GlobalMaxPool": global_pool(torch.amax),
    "BatchNormalization": batch_norm, "InstanceNormalization": instance_norm,
    "LayerNormalization": layer_norm, "GroupNormalization": group_norm, "RMSNormalization": rms_norm,
    "LRN": local_response_norm, "LpNormalization": lp_norm, "Resize": resize, "Upsample": resize,
}  # fmt: skip
