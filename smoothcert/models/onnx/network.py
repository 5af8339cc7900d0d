"""An ONNX file as a network: (B,C,H,W) pixels in [0,1], plus noise, to scores (B,K)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, fx

from smoothcert.errors import BadModelFile
from smoothcert.models.onnx.arithmetic import ARITHMETIC
from smoothcert.models.onnx.graph import OnnxGraph, OnnxNode, parse_onnx
from smoothcert.models.onnx.layers import LAYERS
from smoothcert.models.onnx.shapes import SHAPES
from smoothcert.models.onnx.sizes import MAKING_SIZES, SIZES
from smoothcert.models.onnx.translation import BatchSize, Operator, Translation, Value
from smoothcert.schemas.certificate import Shape

OPERATORS: dict[str, Operator] = {**ARITHMETIC, **SHAPES, **MAKING_SIZES, **LAYERS}
_TAKES_SIZES = ("Reshape", "Expand", "Slice", "Tile")  # as their second input


@dataclass(frozen=True)
class OnnxInput:
    """What the file says of its images. size: height and width, None where free. batch: None where free."""

    channels: int
    size: tuple[int | None, int | None]
    channels_last: bool
    batch: int | None


def image_input(graph: OnnxGraph) -> OnnxInput:
    """Raises BadModelFile if the input is no batch of grey or colour images."""
    dims = graph.input_dims
    text = " x ".join("?" if d is None else str(d) for d in dims) or "no dimension"
    if len(dims) != 4:
        raise BadModelFile(f"The input is {text}; it must be images: batch, channels, height, width.")
    batch, first, second, last = dims
    if first in (1, 3):
        return OnnxInput(first, (second, last), channels_last=False, batch=batch)
    if last in (1, 3):
        return OnnxInput(last, (first, second), channels_last=True, batch=batch)
    raise BadModelFile(f"The input is {text}; it must have 1 or 3 channels, in front or behind.")


def network_in(content: bytes, shape_CHW: Shape, num_classes: int) -> fx.GraphModule:
    """The network in an ONNX file's bytes, for images of this shape. Raises BadModelFile, InternalError."""
    network, found = translated(parse_onnx(content), shape_CHW)
    if found != num_classes:
        raise BadModelFile(f"The network has {found} classes, not {num_classes}.")
    return network


def translated(graph: OnnxGraph, shape_CHW: Shape) -> tuple[fx.GraphModule, int]:
    """The network of this graph and its number of classes.

    Raises BadModelFile naming the operator that can't be read.
    """
    given = image_input(graph)
    sizes = zip((given.channels, *given.size), shape_CHW, strict=True)
    if any(own is not None and own != wanted for own, wanted in sizes):
        wanted = "x".join(map(str, shape_CHW))
        raise BadModelFile(f"The network takes {given.channels} x {given.size} images, not {wanted}.")
    _refuse_unknown(graph.nodes)
    translation = Translation(graph.opset, given.batch)
    values: dict[str, Any] = {"": None, **graph.constants}
    image = translation.image(shape_CHW)
    values[graph.input_name] = (
        translation.method("permute", image, [0, 2, 3, 1]) if given.channels_last else image
    )
    for node in graph.nodes:
        _add(translation, node, values)
    scores = _scores(values[graph.output_name])
    return translation.finished(scores), scores.metas[0].shape[1]


def _refuse_unknown(nodes: Sequence[OnnxNode]) -> None:
    unknown = sorted({node.operator for node in nodes} - OPERATORS.keys())
    if unknown:
        raise BadModelFile(
            f"The graph uses {', '.join(unknown[:5])}, which SmoothCert does not read. "
            "Export the network without it, or certify its PyTorch module in Python."
        )


def _add(translation: Translation, node: OnnxNode, values: dict[str, Any]) -> None:
    """Adds one operator. Raises BadModelFile naming it."""
    inputs = [values[name] for name in node.inputs]
    while inputs and inputs[-1] is None:
        inputs.pop()
    try:
        result = _operator(node, inputs)(translation, node, inputs)
        results = result if isinstance(result, tuple) else (result,)
    except BadModelFile as error:
        raise BadModelFile(f"{_where(node)} can't be read: {_sentence(error)}") from error
    except Exception as error:  # a damaged or hostile graph may ask PyTorch for anything
        raise BadModelFile(f"{_where(node)} can't be read: {_sentence(error)}") from error
    for name, value in zip(node.outputs, results, strict=False):
        values[name] = value
    for name in node.outputs[len(results) :]:
        values[name] = _Absent(node.operator)
    values[""] = None


@dataclass(frozen=True)
class _Absent:
    """An output that is not computed here, such as the places that a max pool chose."""

    operator: str


def _operator(node: OnnxNode, inputs: Sequence[Any]) -> Operator:
    absent = [x.operator for x in inputs if isinstance(x, _Absent)]
    if absent:
        raise BadModelFile(f"it needs a second result of {absent[0]}")
    as_parameter = node.operator in _TAKES_SIZES and isinstance(inputs[0], Value | Tensor)
    if as_parameter or node.operator in ("ConstantOfShape", "Range"):
        return OPERATORS[node.operator]
    if not any(isinstance(x, np.ndarray) for x in inputs):
        return OPERATORS[node.operator]
    if node.operator not in SIZES:
        raise BadModelFile("the graph computes with the size of the batch")
    return SIZES[node.operator]


def _where(node: OnnxNode) -> str:
    made = next((name for name in node.outputs if name), "")
    return f"{node.operator} (which makes {made[:60]!r})"


def _sentence(error: Exception) -> str:
    if isinstance(error, BadModelFile):
        return str(error).rstrip(".") + "."
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200].rstrip(".") + "."


def _scores(value: Any) -> Value:
    """The output, checked to be one row of scores for each image."""
    if not isinstance(value, Value):
        raise BadModelFile("The output does not depend on the pixels.")
    dims = value.dims
    if not value.is_float:
        raise BadModelFile("The output is no score but a whole number; export the scores, not the class.")
    if len(dims) != 2 or dims[0] != BatchSize(1) or not isinstance(dims[1], int):
        text = " x ".join(str(size) for size in dims)
        raise BadModelFile(
            f"The output is {text or 'one number'}; it must be one row of scores for each image."
        )
    if dims[1] < 2:
        raise BadModelFile(
            "The output is one number for each image; it must be one score for each of the classes."
        )
    return value
