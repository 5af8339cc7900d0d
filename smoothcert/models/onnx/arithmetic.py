"""The ONNX operators that are read, each as calls of PyTorch. Specification: onnx.ai/onnx/operators."""

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from smoothcert.errors import BadModelFile
from smoothcert.models.onnx.graph import OnnxNode
from smoothcert.models.onnx.sizes import axis_of, dims_of, front, given, numbers, option
from smoothcert.models.onnx.translation import BATCHES, BatchSize, Operator, Translation, Value, at

_FLOAT_TYPES = (1, 10, 11, 16)  # float, float16, double, bfloat16: the engine chooses the precision
_BOOL_TYPE = 9
_WHOLE_TYPES = (2, 3, 4, 5, 6, 7, 12, 13)


def elementwise(function: Callable[..., Tensor]) -> Operator:
    """An operator that is one function of its inputs."""
    return lambda t, node, inputs: t.call(function, *inputs)


def _with(function: Callable[..., Tensor], **defaults: float) -> Operator:
    """A function of one input whose options are attributes. defaults: name in PyTorch and value."""
    return lambda t, node, inputs: t.call(
        function, inputs[0], **{name: float(option(node, name, value)) for name, value in defaults.items()}
    )


def _variadic(function: Callable[..., Tensor]) -> Operator:
    return lambda t, node, inputs: reduce(lambda a, b: t.call(function, a, b), inputs)


def mean(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    return t.call(torch.div, _variadic(torch.add)(t, node, inputs), float(len(inputs)))


def div(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    whole = not any(x.is_float if isinstance(x, Value) else x.is_floating_point() for x in inputs)
    return t.call(torch.div, *inputs, rounding_mode="trunc" if whole else None)


def mod(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    return t.call(torch.fmod if option(node, "fmod", 0) else torch.remainder, *inputs)


def where(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    return t.call(torch.where, *inputs)


def prelu(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    x, slope = inputs
    return t.call(torch.where, t.call(torch.lt, x, 0.0), t.call(torch.mul, x, slope), x)


def hard_sigmoid(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    scaled = t.call(torch.mul, inputs[0], float(option(node, "alpha", 0.2)))
    return t.call(torch.clamp, t.call(torch.add, scaled, float(option(node, "beta", 0.5))), 0.0, 1.0)


def thresholded_relu(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    return t.call(F.threshold, inputs[0], float(option(node, "alpha", 1.0)), 0.0)


def selu(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    alpha = float(option(node, "alpha", 1.67326319217681884765625))
    gamma = float(option(node, "gamma", 1.05070102214813232421875))
    return t.call(torch.mul, t.call(F.elu, inputs[0], alpha), gamma)


def swish(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    scaled = t.call(torch.mul, inputs[0], float(option(node, "alpha", 1.0)))
    return t.call(torch.mul, inputs[0], t.call(torch.sigmoid, scaled))


def gelu(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    approximate = "tanh" if option(node, "approximate", "none") == "tanh" else "none"
    return t.call(F.gelu, inputs[0], approximate=approximate)


def clip(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    low, high = given(inputs, 1), given(inputs, 2)
    low = option(node, "min", None) if low is None else numbers(low)[0]
    high = option(node, "max", None) if high is None else numbers(high)[0]
    return inputs[0] if low is None and high is None else t.call(torch.clamp, inputs[0], low, high)


def softmax(function: Callable[..., Tensor]) -> Operator:
    """Softmax or its logarithm; before version 13 over all dimensions from the axis on."""

    def translate(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
        x = inputs[0]
        shape = dims_of(x)
        axis = axis_of(node, len(shape), -1 if t.opset >= 13 else 1)
        if t.opset >= 13 or axis == len(shape) - 1:
            return t.call(function, x, axis)
        return reshape_to(t, t.call(function, t.call(torch.flatten, x, axis), axis), shape)

    return translate


def identity(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    return inputs[0]


def dropout(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    training = given(inputs, 2)
    if training is not None and any(numbers(training)):
        raise BadModelFile("the network drops out at random; export it in evaluation mode")
    return inputs[0]


def cast(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    x, to = inputs[0], int(option(node, "to", 0))
    if isinstance(x, Value):
        if to in _FLOAT_TYPES:
            return x if x.is_float else t.method("type_as", x, _input_of(t, x))
        return t.method("to", x, _dtype(to))
    return t.method("to", x, torch.float32 if to in _FLOAT_TYPES else _dtype(to))


def _input_of(t: Translation, like: Value) -> Value:
    """The images, whose type the engine chooses."""
    floats = [torch.empty((1,), device="meta", dtype=torch.float32) for _ in BATCHES]
    return Value(t.input, (floats[0], floats[1]))


def _dtype(to: int) -> torch.dtype:
    if to == _BOOL_TYPE:
        return torch.bool
    if to in _WHOLE_TYPES:
        return torch.int64
    raise BadModelFile(f"numbers of type {to} are not read")


def cast_like(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    x, like = inputs
    is_float = like.is_float if isinstance(like, Value) else like.is_floating_point()
    return cast(t, OnnxNode("Cast", (), (), {"to": 1 if is_float else 7}), [x])


def matmul(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    x, weight = inputs
    if isinstance(x, Value) and isinstance(weight, Tensor) and weight.ndim == 2 and len(x.dims) > 1:
        return t.layer(linear(weight.T, None), x)
    return t.call(torch.matmul, x, weight)


def linear(weight: Tensor, bias: Tensor | None) -> torch.nn.Linear:
    """A linear layer with these weights (outputs, inputs)."""
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = torch.nn.Parameter(weight.contiguous(), requires_grad=False)
    if bias is not None:
        layer.bias = torch.nn.Parameter(bias.contiguous(), requires_grad=False)
    return layer


def gemm(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    x, weight, bias = inputs[0], inputs[1], given(inputs, 2)
    alpha, beta = float(option(node, "alpha", 1.0)), float(option(node, "beta", 1.0))
    x = t.call(torch.transpose, x, 0, 1) if option(node, "transA", 0) else x
    weight = weight if option(node, "transB", 0) else t.call(torch.transpose, weight, 0, 1)
    if isinstance(x, Value) and isinstance(weight, Tensor) and weight.ndim == 2 and _is_bias(bias, weight):
        flat = None if bias is None else beta * bias.flatten().expand(weight.shape[0])
        return t.layer(linear(alpha * weight, flat), x)
    product = t.call(torch.mul, t.call(torch.matmul, x, t.call(torch.transpose, weight, 0, 1)), alpha)
    return product if bias is None else t.call(torch.add, product, t.call(torch.mul, bias, beta))


def _is_bias(bias: Any, weight: Tensor) -> bool:
    if bias is None:
        return True
    return isinstance(bias, Tensor) and (
        bias.numel() == 1 or bias.shape in ((weight.shape[0],), (1, weight.shape[0]))
    )


def reduction(function: Callable[..., Tensor]) -> Operator:
    """A reduction over axes, which are an attribute or, in later versions, an input."""

    def translate(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
        x, axes = inputs[0], given(inputs, 1)
        axes = option(node, "axes", ()) if axes is None else numbers(axes)
        rank = len(dims_of(x))
        if not axes and option(node, "noop_with_empty_axes", 0):
            return x
        dims = sorted({front(int(axis), rank) for axis in axes}) or list(range(rank))
        return t.call(function, x, dims, bool(option(node, "keepdims", 1)))

    return translate


def largest(x: Tensor, dims: list[int], keepdim: bool) -> Tensor:
    return torch.amax(x, dims, keepdim)


def smallest(x: Tensor, dims: list[int], keepdim: bool) -> Tensor:
    return torch.amin(x, dims, keepdim)


def product(x: Tensor, dims: list[int], keepdim: bool) -> Tensor:
    for dim in reversed(dims):
        x = torch.prod(x, dim, keepdim)
    return x


def l1(x: Tensor, dims: list[int], keepdim: bool) -> Tensor:
    return torch.sum(torch.abs(x), dims, keepdim)


def l2(x: Tensor, dims: list[int], keepdim: bool) -> Tensor:
    return torch.sqrt(torch.sum(torch.mul(x, x), dims, keepdim))


def sum_of_squares(x: Tensor, dims: list[int], keepdim: bool) -> Tensor:
    return torch.sum(torch.mul(x, x), dims, keepdim)


def log_sum(x: Tensor, dims: list[int], keepdim: bool) -> Tensor:
    return torch.log(torch.sum(x, dims, keepdim))


def einsum(t: Translation, node: OnnxNode, inputs: Sequence[Any]) -> Any:
    equation = str(option(node, "equation", ""))
    if not equation or set(equation) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,-> "):
        raise BadModelFile("its equation is none")
    return t.call(torch.einsum, equation, list(inputs))


def reshape_to(t: Translation, x: Any, target: Sequence[int | BatchSize]) -> Any:
    """x in this shape, of which one size may be -1."""
    shapes = [_inferred(dims_of(x), target, batch) for batch in BATCHES]
    final = [BatchSize.through(two, three) for two, three in zip(*shapes, strict=True)]
    by_batch = [index for index, size in enumerate(final) if isinstance(size, BatchSize)]
    if len(by_batch) == 1:
        final[by_batch[0]] = -1
    return t.method("reshape", x, final)


def _inferred(dims: Sequence[int | BatchSize], target: Sequence[int | BatchSize], batch: int) -> list[int]:
    total = math.prod(at(size, batch) for size in dims)
    shape = [at(size, batch) for size in target]
    if shape.count(-1) == 1:
        rest = math.prod(size for size in shape if size != -1)
        shape[shape.index(-1)] = total // rest if rest else 0
    if math.prod(shape) != total or min(shape, default=0) < 0:
        raise BadModelFile(f"{total} numbers do not fit the shape {tuple(shape)} for a batch of {batch}")
    return shape


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Abs": torch.abs, "Neg": torch.neg, "Reciprocal": torch.reciprocal, "Sqrt": torch.sqrt,
    "Exp": torch.exp, "Log": torch.log, "Erf": torch.erf, "Sign": torch.sign, "Floor": torch.floor,
    "Ceil": torch.ceil, "Round": torch.round, "Sin": torch.sin, "Cos": torch.cos, "Tan": torch.tan,
    "Asin": torch.asin, "Acos": torch.acos, "Atan": torch.atan, "Sinh": torch.sinh, "Cosh": torch.cosh,
    "Tanh": torch.tanh, "Sigmoid": torch.sigmoid, "Relu": F.relu, "Softplus": F.softplus,
    "Softsign": F.softsign, "Mish": F.mish, "HardSwish": F.hardswish, "Not": torch.logical_not,
    "Sub": torch.sub, "Mul": torch.mul, "Add": torch.add, "Pow": torch.pow, "Equal": torch.eq,
    "Less": torch.lt, "LessOrEqual": torch.le, "Greater": torch.gt, "GreaterOrEqual": torch.ge,
    "And": torch.logical_and, "Or": torch.logical_or, "Xor": torch.logical_xor, "IsNaN": torch.isnan,
}  # fmt: skip

_REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceMean": torch.mean, "ReduceSum": torch.sum, "ReduceMax": largest, "ReduceMin": smallest,
    "ReduceProd": product, "ReduceL1": l1, "ReduceL2": l2, "ReduceSumSquare": sum_of_squares,
    "ReduceLogSum": log_sum, "ReduceLogSumExp": torch.logsumexp,
}  # fmt: skip

ARITHMETIC: dict[str, Operator] = {
    **{name: elementwise(function) for name, function in _FUNCTIONS.items()},
    **{name: reduction(function) for name, function in _REDUCTIONS.items()},
    "Div": div, "Mod": mod, "Where": where, "Sum": _variadic(torch.add), "Max": _variadic(torch.maximum),
    "Min": _variadic(torch.minimum), "Mean": mean, "PRelu": prelu, "HardSigmoid": hard_sigmoid,
    "LeakyRelu": lambda t, node, inputs: t.call(F.leaky_relu, inputs[0], float(option(node, "alpha", 0.01))),
    "Elu": _with(F.elu, alpha=1.0), "Celu": _with(F.celu, alpha=1.0), "Selu": selu,
    "ThresholdedRelu": thresholded_relu, "Swish": swish, "Gelu": gelu, "Clip": clip,
    "Softmax": softmax(torch.softmax), "LogSoftmax": softmax(torch.log_softmax), "Identity": identity,
    "Dropout": dropout, "Cast": cast, "CastLike": cast_like, "MatMul": matmul, "Gemm": gemm,
    "Einsum": einsum,
}  # fmt: skip
