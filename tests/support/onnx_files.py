"""ONNX files for tests, node by node."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
SHAPE = ("batch", 3, 8, 8)


def node(operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> onnx.NodeProto:
    """One node; attributes as Python values."""
    return helper.make_node(operator, inputs, outputs, **attributes)


def model(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, Array] | None = None,
    shape: Sequence[str | int] = SHAPE,
    opset: int = 17,
    scores: Sequence[str | int] | None = ("batch", "classes"),
    **extra: Any,
) -> onnx.ModelProto:
    """A model from the image `x` to the scores `y`."""
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, scores)],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], **extra)


def linear(weights_KD: Array, bias_K: Array, shape: Sequence[str | int] = SHAPE, opset: int = 17) -> bytes:
    """Scores of a linear classifier."""
    nodes = [
        node("Flatten", ["x"], ["flat"], axis=1),
        node("Gemm", ["flat", "w", "b"], ["y"], transB=1),
    ]
    constants = {"w": weights_KD.astype(np.float32), "b": bias_K.astype(np.float32)}
    return model(nodes, constants, shape, opset).SerializeToString()


def small_network(classes: int = 4, seed: int = 0, **options: Any) -> onnx.ModelProto:
    """A convolution, batch norm, ReLU, pool and a linear layer."""
    rng = np.random.default_rng(seed)
    constants = {
        "w": rng.normal(0, 0.3, (6, 3, 3, 3)).astype(np.float32),
        **{name: rng.uniform(0.5, 1.5, 6).astype(np.float32) for name in ("scale", "shift", "mean", "var")},
        "head": rng.normal(0, 0.3, (6 * 16, classes)).astype(np.float32),
        "bias": rng.normal(0, 0.1, classes).astype(np.float32),
    }
    nodes = [
        node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c", "scale", "shift", "mean", "var"], ["n"]),
        node("Relu", ["n"], ["r"]),
        node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "head", "bias"], ["y"]),
    ]
    return model(nodes, constants, **options)
