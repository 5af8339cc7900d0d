"""Every operator answers as the specification's reference implementation does, in old and new versions."""

from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")

import torch  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

from smoothcert.errors import BadModelFile  # noqa: E402
from smoothcert.models.onnx.graph import parse_onnx  # noqa: E402
from smoothcert.models.onnx.network import OPERATORS, translated  # noqa: E402
from tests.support.onnx_files import model, node  # noqa: E402

SHAPE_CHW = (3, 8, 8)
I = np.int64  # noqa: E741
F = np.float32
rng = np.random.default_rng(7)
W = rng.normal(0, 0.3, (6, 3, 3, 3)).astype(F)
V6 = rng.uniform(0.5, 1.5, 6).astype(F)
V3 = rng.uniform(0.5, 1.5, 3).astype(F)


def ints(*values: int) -> Any:
    return np.array(values, dtype=I)


# operator, inputs behind the image, attributes, version of the operators
CASES: list[tuple[str, tuple[Any, ...], dict[str, Any], int]] = [
    *[
        (name, (), {}, 17)
        for name in (
            "Abs",
            "Neg",
            "Sigmoid",
            "Tanh",
            "Relu",
            "Softplus",
            "Softsign",
            "HardSwish",
            "HardSigmoid",
            "Erf",
            "Exp",
            "Sin",
            "Cos",
            "Atan",
            "Sign",
            "Floor",
            "Ceil",
            "Round",
            "Elu",
            "Selu",
            "Celu",
            "LeakyRelu",
            "ThresholdedRelu",
            "Identity",
            "Sinh",
            "Cosh",
            "Reciprocal",
            "GlobalAveragePool",
            "GlobalMaxPool",
            "Softmax",
            "LogSoftmax",
            "LpNormalization",
            "Dropout",
            "Tan",
        )
    ],
    *[
        (name, (), {"keepdims": 1, "axes": [2, 3]}, 13)
        for name in (
            "ReduceMean",
            "ReduceMax",
            "ReduceMin",
            "ReduceL1",
            "ReduceL2",
            "ReduceSumSquare",
            "ReduceProd",
            "ReduceLogSumExp",
        )
    ],
    *[
        (name, (ints(1, -1),), {"keepdims": 0}, 18)
        for name in (
            "ReduceMean",
            "ReduceMax",
            "ReduceMin",
            "ReduceL1",
            "ReduceL2",
            "ReduceSumSquare",
            "ReduceProd",
        )
    ],
    ("ReduceSum", (ints(1),), {"keepdims": 0}, 13),
    ("ReduceSum", (), {"axes": [1, 2]}, 11),
    *[
        (name, (V3.reshape(3, 1, 1),), {}, 13)
        for name in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean")
    ],
    ("Pow", (np.array(2, F),), {}, 15),
    ("Mod", (V3.reshape(3, 1, 1),), {"fmod": 1}, 13),
    ("PRelu", (V3.reshape(3, 1, 1),), {}, 16),
    ("Clip", (np.array(-0.1, F), np.array(0.4, F)), {}, 13),
    ("Clip", (np.array(-0.1, F),), {}, 11),
    ("Clip", (), {"min": -0.2, "max": 0.3}, 7),
    ("Gelu", (), {}, 20),
    ("Gelu", (), {"approximate": "tanh"}, 20),
    ("Mish", (), {}, 18),
    ("Softmax", (), {"axis": 1}, 13),
    ("Softmax", (), {"axis": 3}, 9),
    ("Conv", (W,), {}, 11),
    ("Conv", (W, V6), {"pads": [1, 1, 1, 1], "strides": [2, 2]}, 11),
    ("Conv", (W, V6), {"pads": [0, 1, 2, 0]}, 11),
    ("Conv", (W, V6), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, 11),
    ("Conv", (W, V6), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, 11),
    ("Conv", (W, V6), {"auto_pad": "VALID"}, 11),
    ("Conv", (W, V6), {"dilations": [2, 2], "pads": [2, 2, 2, 2]}, 11),
    ("Conv", (W[:3, :1],), {"group": 3}, 11),
    (
        "ConvTranspose",
        (W.transpose(1, 0, 2, 3).copy(), V6),
        {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
        11,
    ),
    ("MaxPool", (), {"kernel_shape": [2, 2], "strides": [2, 2]}, 12),
    ("MaxPool", (), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, 12),
    ("MaxPool", (), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]}, 12),
    ("MaxPool", (), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, 12),
    ("MaxPool", (), {"kernel_shape": [2, 2]}, 8),
    ("AveragePool", (), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, 11),
    ("AveragePool", (), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]}, 11),
    ("AveragePool", (), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}, 11),
    ("BatchNormalization", (V3, V3, V3, V3), {}, 15),
    ("InstanceNormalization", (V3, V3), {}, 6 + 2),
    ("LayerNormalization", (rng.normal(size=8).astype(F), rng.normal(size=8).astype(F)), {}, 17),
    ("LayerNormalization", (rng.normal(size=(3, 8, 8)).astype(F),), {"axis": 1}, 17),
    ("GroupNormalization", (V3, V3), {"num_groups": 3}, 21),
    ("RMSNormalization", (rng.normal(size=8).astype(F),), {}, 23),
    ("LRN", (), {"size": 3, "alpha": 0.1, "beta": 0.5, "bias": 2.0}, 13),
    ("Reshape", (ints(0, 3, -1),), {}, 14),
    ("Reshape", (ints(-1, 192),), {}, 19),
    ("Flatten", (), {"axis": 1}, 11),
    ("Flatten", (), {"axis": -3}, 13),
    ("Transpose", (), {"perm": [0, 2, 3, 1]}, 13),
    ("Unsqueeze", (ints(1),), {}, 13),
    ("Unsqueeze", (), {"axes": [2]}, 11),
    ("Slice", (ints(1), ints(2**62), ints(1)), {}, 13),
    ("Slice", (ints(-1), ints(-9), ints(3), ints(-1)), {}, 13),
    ("Slice", (ints(0), ints(7), ints(2), ints(2)), {}, 13),
    ("Slice", (), {"starts": [1], "ends": [-1], "axes": [2]}, 9),
    ("Gather", (ints(2, 0),), {"axis": 1}, 13),
    ("Gather", (np.array(-1, I),), {"axis": 2}, 13),
    ("Gather", (np.array([[0, 1], [2, -1]], I),), {"axis": 3}, 13),
    ("Pad", (ints(0, 0, 1, 2, 0, 0, 0, 1), np.array(0.5, F)), {}, 13),
    ("Pad", (ints(0, 1, 0, 0, 0, 0, 0, 0),), {}, 11),
    ("Pad", (ints(0, 0, 1, 2, 0, 0, 0, 1),), {"mode": "reflect"}, 13),
    ("Pad", (ints(0, 0, 1, 2, 0, 0, 0, 1),), {"mode": "edge"}, 13),
    ("Pad", (), {"pads": [0, 0, 1, 1, 0, 0, 1, 1], "value": 0.25}, 10),
    ("Expand", (ints(1, 3, 8, 8),), {}, 13),
    ("Tile", (ints(1, 1, 2, 1),), {}, 13),
    ("Trilu", (np.array(1, I),), {"upper": 1}, 14),
    ("Trilu", (), {"upper": 0}, 14),
    ("CumSum", (np.array(2, np.int32),), {}, 14),
    ("SpaceToDepth", (), {"blocksize": 2}, 13),
    ("Einsum", (), {"equation": "bchw->bwhc"}, 12),
    ("MatMul", (rng.normal(size=(8, 5)).astype(F),), {}, 13),
    ("MatMul", (rng.normal(size=(3, 8, 5)).astype(F),), {}, 13),
    (
        "Resize",
        (np.zeros(0, F), np.array([1, 1, 2, 2], F)),
        {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"},
        13,
    ),
    ("Resize", (np.zeros(0, F), np.array([1, 1, 2, 1.5], F)), {"mode": "linear"}, 13),
    (
        "Resize",
        (np.zeros(0, F), np.zeros(0, F), ints(1, 3, 5, 4)),
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
        13,
    ),
    ("Resize", (np.zeros(0, F), np.array([1, 1, 0.5, 0.5], F)), {"mode": "nearest"}, 13),
]


@pytest.mark.parametrize("case", CASES, ids=[f"{i}-{case[0]}-{case[3]}" for i, case in enumerate(CASES)])
def test_an_operator_answers_as_specified(case: tuple[str, tuple[Any, ...], dict[str, Any], int]) -> None:
    operator, others, attributes, opset = case
    names = [f"c{index}" for index in range(len(others))]
    if operator == "Resize" and len(others) == 3:  # its batch is that of the test
        others = (*others[:2], ints(3, 3, 5, 4))
    nodes = [node(operator, ["x", *names], ["z"], **attributes), node("Flatten", ["z"], ["y"], axis=1)]
    file = model(nodes, dict(zip(names, others, strict=True)), opset=opset)
    network, _ = translated(parse_onnx(file.SerializeToString()), SHAPE_CHW)
    images = np.random.default_rng(1).normal(0.2, 0.6, (3, *SHAPE_CHW)).astype(F)
    with torch.no_grad():
        ours = network(torch.from_numpy(images)).numpy()
    (theirs,) = ReferenceEvaluator(file).run(None, {"x": images})
    np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-5)


def scores(nodes: list[Any], constants: dict[str, Any], batch: int = 2, **options: Any) -> tuple[Any, Any]:
    file = model(nodes, constants, **options)
    network, _ = translated(parse_onnx(file.SerializeToString()), SHAPE_CHW)
    images = np.random.default_rng(1).normal(0.2, 0.6, (batch, *SHAPE_CHW)).astype(F)
    with torch.no_grad():
        ours = network(torch.from_numpy(images)).numpy()
    declared = file.graph.input[0].type.tensor_type.shape.dim[0].dim_value or batch
    parts = np.split(images, batch // declared)
    return ours, np.concatenate([ReferenceEvaluator(file).run(None, {"x": part})[0] for part in parts])


def test_split_gives_all_parts() -> None:
    nodes = [
        node("Split", ["x"], ["a", "b"], axis=2, num_outputs=2),
        node("Sub", ["a", "b"], ["d"]),
        node("Flatten", ["d"], ["y"]),
    ]
    np.testing.assert_allclose(*scores(nodes, {}, opset=18), rtol=1e-5)


def test_shapes_that_the_graph_computes_from_the_batch_are_read() -> None:
    """As torch.onnx.export writes x.view(x.size(0), -1)."""
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["batch"], axis=0),
        node("Unsqueeze", ["batch", "axis"], ["b"]),
        node("Concat", ["b", "rest"], ["target"], axis=0),
        node("Reshape", ["x", "target"], ["y"]),
    ]
    constants = {"zero": np.array(0, I), "axis": ints(0), "rest": ints(-1)}
    np.testing.assert_allclose(*scores(nodes, constants, batch=5), rtol=1e-6)


@pytest.mark.parametrize("exported_for", [1, 4])
def test_a_fixed_batch_is_made_free(exported_for: int) -> None:
    nodes = [
        node("Reshape", ["x", "tokens"], ["t"]),
        node("Transpose", ["t"], ["u"], perm=[1, 0, 2]),
        node("Reshape", ["u", "back"], ["v"]),
        node("Transpose", ["v"], ["w"], perm=[1, 0, 2]),
        node("Reshape", ["w", "flat"], ["y"]),
    ]
    constants = {
        "tokens": ints(exported_for, 3, 64),
        "back": ints(3, exported_for, 64),
        "flat": ints(exported_for, -1),
    }
    options = {"shape": (exported_for, 3, 8, 8), "scores": (exported_for, 192)}
    np.testing.assert_allclose(*scores(nodes, constants, batch=8, **options), rtol=1e-6)


def test_a_token_that_was_exported_for_one_image_is_put_before_each() -> None:
    nodes = [
        node("Reshape", ["x", "tokens"], ["t"]),
        node("Concat", ["token", "t"], ["u"], axis=1),
        node("Flatten", ["u"], ["y"]),
    ]
    constants = {"tokens": ints(1, 3, 64), "token": np.ones((1, 1, 64), F)}
    np.testing.assert_allclose(
        *scores(nodes, constants, batch=3, shape=(1, 3, 8, 8), scores=(1, 256)), rtol=1e-6
    )


def test_images_whose_channels_come_last_are_turned() -> None:
    file = model([node("Flatten", ["x"], ["y"])], shape=("batch", 8, 8, 3))
    network, _ = translated(parse_onnx(file.SerializeToString()), SHAPE_CHW)
    images_BCHW = torch.rand(2, *SHAPE_CHW)
    assert torch.equal(network(images_BCHW), images_BCHW.permute(0, 2, 3, 1).flatten(1))


def test_masks_of_minus_infinity_are_taken() -> None:
    mask = np.triu(np.full((8, 8), -np.inf, F), 1)
    nodes = [node("Add", ["x", "m"], ["a"]), node("Softmax", ["a"], ["s"]), node("Flatten", ["s"], ["y"])]
    np.testing.assert_allclose(*scores(nodes, {"m": mask}), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax"])
def test_before_version_13_a_softmax_runs_over_all_dimensions_from_its_axis_on(operator: str) -> None:
    """The reference implementation has the new meaning only."""
    file = model([node(operator, ["x"], ["z"], axis=2), node("Flatten", ["z"], ["y"])], opset=11)
    network, _ = translated(parse_onnx(file.SerializeToString()), SHAPE_CHW)
    images_BCHW = torch.rand(2, *SHAPE_CHW)
    expected = images_BCHW.flatten(2).softmax(-1).flatten(1)
    torch.testing.assert_close(network(images_BCHW), expected if operator == "Softmax" else expected.log())


def test_before_version_14_batch_norm_uses_its_own_statistics() -> None:
    nodes = [node("BatchNormalization", ["x", *"wbmv"], ["z"], epsilon=1e-3), node("Flatten", ["z"], ["y"])]
    file = model(nodes, dict.fromkeys("wbmv", V3), opset=9)
    network, _ = translated(parse_onnx(file.SerializeToString()), SHAPE_CHW)
    images_BCHW, v = torch.rand(2, *SHAPE_CHW), torch.from_numpy(V3).view(3, 1, 1)
    torch.testing.assert_close(
        network(images_BCHW), ((images_BCHW - v) / (v + 1e-3).sqrt() * v + v).flatten(1)
    )


def test_no_operator_is_untested() -> None:
    elsewhere = {
        "Split",
        "Shape",
        "Concat",
        "Size",
        "Constant",
        "ConstantOfShape",
        "Range",
        "ScatterND",
        "Squeeze",
        "Where",
        "Equal",
        "Less",
        "LessOrEqual",
        "Greater",
        "GreaterOrEqual",
        "And",
        "Or",
        "Xor",
        "Not",
        "IsNaN",
        "Cast",
        "CastLike",
        "Gemm",
        "Upsample",
        "DepthToSpace",
        "Sqrt",
        "Log",
        "Asin",
        "Acos",
        "ReduceLogSum",
        "Swish",
    }
    assert OPERATORS.keys() - {case[0] for case in CASES} <= elsewhere


def test_an_unknown_operator_is_named() -> None:
    file = model([node("NonMaxSuppression", ["x"], ["y"])])
    with pytest.raises(BadModelFile, match="NonMaxSuppression"):
        translated(parse_onnx(file.SerializeToString()), SHAPE_CHW)
