"""Reads an ONNX file as data: a list of operators and constants, or the reason why it is refused.

Only the protobuf message is parsed; nothing of the file is run here. Specification: onnx.ai/onnx, IR.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor

from smoothcert.environment import how_to_install
from smoothcert.errors import BadModelFile, InternalError, SmoothCertError

if TYPE_CHECKING:
    import onnx

MAX_NODES = 50_000
OPSETS: Final = range(7, 27)  # of the standard operators; broadcasting was another before 7
_STANDARD_DOMAINS = ("", "ai.onnx")
_CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")
_FLOATS = ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE")
_WHOLE = ("INT64", "INT32", "INT16", "INT8", "UINT8", "UINT16", "UINT32", "BOOL")
_SMALL = 10  # names in a message

Attribute = float | int | str | Tensor | Sequence[float] | Sequence[int]


@dataclass(frozen=True)
class OnnxNode:
    """One operator with the names of its inputs ('' where one is left out) and outputs."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Attribute] = field(default_factory=dict)


@dataclass(frozen=True)
class OnnxGraph:
    """A graph with one image input and one output.

    input_dims: None where a dimension is free. constants: weights as float32, whole numbers as int64, truth
    values as bool. made_by: the exporter's name, as the file says.
    """

    input_name: str
    input_dims: tuple[int | None, ...]
    output_name: str
    nodes: tuple[OnnxNode, ...]
    constants: dict[str, Tensor]
    opset: int
    made_by: str


def parse_onnx(content: bytes) -> OnnxGraph:
    """The graph in a file's bytes.

    Raises BadModelFile: why it is refused; InternalError: `onnx` is not installed.
    """
    try:
        return _parsed(content)
    except SmoothCertError:
        raise
    except Exception as error:  # for example text that is not UTF-8, in any place
        raise BadModelFile(f"This ONNX file is damaged: {_first_line(error)}.") from error


def _parsed(content: bytes) -> OnnxGraph:
    model = _message(content)
    opset = _opset(model)
    _refuse_foreign(model)
    constants = {}
    for tensor in model.graph.initializer:
        constants[tensor.name] = _constant(tensor, f"the initialiser {tensor.name!r}")
    nodes = tuple(_node(node) for node in model.graph.node)
    _refuse_disorder(model, nodes)
    image = _only([value for value in model.graph.input if value.name not in constants], "input")
    scores = _only(list(model.graph.output), "output")
    _check_float(image, "input")
    if scores.type.HasField("tensor_type"):
        _check_float(scores, "output")
    made_by = f"{model.producer_name} {model.producer_version}".strip()[:100]
    return OnnxGraph(image.name, _dims(image), scores.name, nodes, constants, opset, made_by)


def _message(content: bytes) -> onnx.ModelProto:
    try:
        import onnx  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise InternalError(
            f"ONNX files need the package onnx. To get it: {how_to_install('onnx')}"
        ) from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except Exception as error:  # of the protobuf package, which is not a direct dependency
        raise BadModelFile("This is no ONNX file, or a damaged one: it can't be parsed.") from error
    if not model.HasField("graph") or not model.graph.node:
        raise BadModelFile("This is no ONNX file, or a damaged one: it holds no graph.")
    return model


def _opset(model: onnx.ModelProto) -> int:
    versions = {entry.domain: entry.version for entry in model.opset_import}
    opset: int = versions.get("") or versions.get("ai.onnx") or 0
    if opset not in OPSETS:
        raise BadModelFile(
            f"The file uses version {opset} of the ONNX operators; {OPSETS[0]} to {OPSETS[-1]} are read."
        )
    return opset


def _refuse_foreign(model: onnx.ModelProto) -> None:
    """Raises BadModelFile for everything that is more than one flat graph of standard operators."""
    if model.functions:
        raise BadModelFile(
            f"The file defines functions of its own ({model.functions[0].name!r}); "
            "inline them (onnx.inliner.inline_local_functions) and save it again."
        )
    if model.training_info:
        raise BadModelFile("The file holds training steps; export the network for inference.")
    if len(model.graph.node) > MAX_NODES:
        raise BadModelFile(f"The graph has {len(model.graph.node)} nodes; up to {MAX_NODES} are taken.")
    if model.graph.sparse_initializer:
        raise BadModelFile("The file holds sparse weights; save them as dense ones.")
    for node in model.graph.node:
        _refuse_foreign_node(node)


def _refuse_foreign_node(node: onnx.NodeProto) -> None:
    if not all(isinstance(name, str) for name in (node.op_type, node.domain, *node.input, *node.output)):
        raise BadModelFile("This ONNX file is damaged: a name in it is no text.")
    name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
    if node.op_type in _CONTROL_FLOW or any(a.HasField("g") or a.graphs for a in node.attribute):
        raise BadModelFile(
            f"The graph has control flow ({name}); export the network with fixed control flow."
        )
    if node.domain not in _STANDARD_DOMAINS:
        raise BadModelFile(f"The operator {name} is not a standard one; export with standard operators only.")
    if any(a.ref_attr_name for a in node.attribute):
        raise BadModelFile(f"{name} takes an attribute from a function, and there is none.")


def _refuse_disorder(model: onnx.ModelProto, nodes: Sequence[OnnxNode]) -> None:
    """Every value must be made once, before it is used: a graph without cycles."""
    known = {value.name for value in model.graph.input} | {c.name for c in model.graph.initializer} | {""}
    for node in nodes:
        missing = [name for name in node.inputs if name not in known]
        if missing:
            raise BadModelFile(
                f"{node.operator} uses {missing[0]!r} before anything makes it: the graph is out of order or "
                "has a cycle."
            )
        made = [name for name in node.outputs if name]
        if known.intersection(made) - {""} or len(set(made)) < len(made):
            raise BadModelFile(f"{node.operator} makes {made[0]!r}, which is there already.")
        known.update(made)
    absent = [value.name for value in model.graph.output if value.name not in known]
    if absent:
        raise BadModelFile(f"Nothing makes the output {absent[0]!r}.")


def _only(values: list[onnx.ValueInfoProto], what: str) -> onnx.ValueInfoProto:
    if len(values) != 1:
        names = ", ".join(repr(value.name) for value in values[:_SMALL]) or "none"
        purpose = "one batch of images" if what == "input" else "one score per class"
        raise BadModelFile(
            f"The network must have one {what}, {purpose}; this one has {len(values)}: {names}."
        )
    return values[0]


def _check_float(value: onnx.ValueInfoProto, what: str) -> None:
    kind = _type_name(value.type.tensor_type.elem_type) if value.type.HasField("tensor_type") else "no tensor"
    if kind not in _FLOATS:
        wanted = "pixels as float" if what == "input" else "scores as float, not the class"
        raise BadModelFile(f"The {what} {value.name!r} is {kind.lower()}; it must be {wanted}.")


def _type_name(number: int) -> str:
    import onnx  # noqa: PLC0415

    try:
        return str(onnx.TensorProto.DataType.Name(number))
    except ValueError:
        return f"type {number}"


def _dims(value: onnx.ValueInfoProto) -> tuple[int | None, ...]:
    """Sizes of the input; None: free (a name, or nothing)."""
    if not value.type.tensor_type.HasField("shape"):
        raise BadModelFile(f"The file does not say the shape of its input {value.name!r}.")
    dims = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in dims)


def _node(node: onnx.NodeProto) -> OnnxNode:
    attributes = {a.name: _attribute(a, node.op_type) for a in node.attribute}
    return OnnxNode(node.op_type, tuple(node.input), tuple(node.output), attributes)


def _attribute(attribute: onnx.AttributeProto, operator: str) -> Attribute:
    import onnx  # noqa: PLC0415

    kind, types = attribute.type, onnx.AttributeProto
    if kind == types.FLOAT:
        return float(attribute.f)
    if kind == types.INT:
        return int(attribute.i)
    if kind == types.STRING:
        return str(attribute.s.decode("ascii", "replace"))
    if kind == types.TENSOR:
        return _constant(attribute.t, f"the attribute {attribute.name!r} of {operator}")
    if kind == types.FLOATS:
        return tuple(attribute.floats)
    if kind == types.INTS:
        return tuple(attribute.ints)
    raise BadModelFile(f"{operator} has an attribute {attribute.name!r} of a kind that is not read.")


def _constant(tensor: onnx.TensorProto, where: str) -> Tensor:
    from onnx import numpy_helper  # noqa: PLC0415

    if tensor.external_data or tensor.data_location:
        raise BadModelFile(
            f"The weights are not in the file: {where} is external data. Save all in one file "
            "(onnx.save_model with save_as_external_data=False, or external_data=False in torch.onnx.export)."
        )
    kind = _type_name(tensor.data_type)
    if kind not in _FLOATS + _WHOLE:
        raise BadModelFile(f"{where} holds {kind.lower()}, which is not read; numbers are.")
    _check_size(tensor, where)
    try:
        array = np.asarray(numpy_helper.to_array(tensor))
    except Exception as error:  # a damaged tensor may raise anything
        raise BadModelFile(f"{where} is damaged: {_first_line(error)}") from error
    wanted: Any = np.float32 if kind in _FLOATS else np.bool_ if kind == "BOOL" else np.int64
    constant = torch.from_numpy(np.array(array, dtype=wanted, order="C"))
    if constant.is_floating_point() and (constant.isnan().any() or constant.isposinf().any()):
        raise BadModelFile(f"{where} holds NaN or infinite numbers; export the network again.")
    return constant


def _check_size(tensor: onnx.TensorProto, where: str) -> None:
    """Refuses a tensor that claims more numbers than the file holds for it."""
    if any(d < 0 for d in tensor.dims):
        raise BadModelFile(f"{where} has a negative size.")
    held = max(len(tensor.raw_data), *(len(f) for f in _number_fields(tensor)))
    if math.prod(tensor.dims) > held:
        raise BadModelFile(f"{where} claims {math.prod(tensor.dims)} numbers; the file holds fewer.")


def _number_fields(tensor: onnx.TensorProto) -> Sequence[Sequence[float]]:
    return (
        tensor.float_data,
        tensor.int32_data,
        tensor.int64_data,
        tensor.double_data,
        tensor.uint64_data,
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
