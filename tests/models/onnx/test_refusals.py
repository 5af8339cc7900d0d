"""What is no plain function of one image is refused with its reason, and no file of any kind does more."""

import sys
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from smoothcert.errors import BadModelFile, InternalError  # noqa: E402
from smoothcert.models.onnx.graph import parse_onnx  # noqa: E402
from smoothcert.models.onnx.network import network_in, translated  # noqa: E402
from tests.support.onnx_files import linear, model, node, small_network  # noqa: E402

SHAPE_CHW = (3, 8, 8)
FLAT = [node("Flatten", ["x"], ["y"])]
ONE = np.ones(1, np.float32)


def refused(file: Any, reason: str) -> None:
    content = file if isinstance(file, bytes) else file.SerializeToString()
    with pytest.raises(BadModelFile, match=reason):
        translated(parse_onnx(content), SHAPE_CHW)


def with_changed(change: Any, **options: Any) -> Any:
    file = small_network(**options)
    change(file)
    return file


@pytest.mark.parametrize("operator", ["If", "Loop", "Scan"])
def test_control_flow_is_refused(operator: str) -> None:
    body = helper.make_graph([], "body", [], [])
    name = "body" if operator != "If" else "then_branch"
    refused(model([node(operator, ["x"], ["y"], **{name: body})], opset=17), f"control flow.*{operator}")


def test_a_function_of_the_file_is_refused() -> None:
    def call_itself(file: Any) -> None:
        again = helper.make_node("Again", ["a"], ["b"], domain="local")
        file.functions.append(helper.make_function("local", "Again", ["a"], ["b"], [again], []))

    refused(with_changed(call_itself), "functions of its own.*Again")


def test_an_operator_of_a_vendor_is_refused() -> None:
    refused(
        model([helper.make_node("FusedConv", ["x"], ["y"], domain="com.microsoft")]),
        "com.microsoft.FusedConv",
    )


@pytest.mark.parametrize("where", ["/etc/passwd", "../weights.bin", "weights.bin"])
def test_weights_outside_the_file_are_refused(where: str) -> None:
    def move_out(file: Any) -> None:
        tensor = file.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=where)

    refused(with_changed(move_out), "external data")


@pytest.mark.parametrize("dims", [[10**6, 10**6], [2**62, 4], [-1, 5]])
def test_a_tensor_that_claims_more_than_the_file_holds_is_refused(dims: list[int]) -> None:
    def enlarge(file: Any) -> None:
        del file.graph.initializer[0].dims[:]
        file.graph.initializer[0].dims.extend(dims)

    refused(with_changed(enlarge), "claims|negative")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(value: float) -> None:
    refused(linear(np.full((2, 192), value), np.zeros(2)), "NaN or infinite")


@pytest.mark.parametrize(
    ("nodes", "constants", "reason"),
    [
        (
            [
                node("ConstantOfShape", ["n"], ["c"]),
                node("Add", ["x", "c"], ["z"]),
                node("Flatten", ["z"], ["y"]),
            ],
            {"n": np.array([10**6, 10**6])},
            "numbers",
        ),
        (
            [node("Tile", ["x", "n"], ["z"]), node("Flatten", ["z"], ["y"])],
            {"n": np.array([1, 1, 10**5, 10**5])},
            "numbers",
        ),
        (
            [node("Pad", ["x", "n"], ["z"]), node("Flatten", ["z"], ["y"])],
            {"n": np.array([0, 0, 10**6, 10**6, 0, 0, 0, 0])},
            "numbers",
        ),
        (
            [node("Range", ["a", "b", "c"], ["z"]), node("Mul", ["x", "z"], ["y"])],
            {"a": np.array(0), "b": np.array(2**60), "c": np.array(1)},
            "too far",
        ),
        ([node("RandomNormalLike", ["x"], ["z"]), node("Flatten", ["z"], ["y"])], {}, "RandomNormalLike"),
        (
            [node("Dropout", ["x", "r", "t"], ["z"]), node("Flatten", ["z"], ["y"])],
            {"r": np.array(0.5, np.float32), "t": np.array(True)},
            "at random",
        ),
        (
            [
                node("BatchNormalization", ["x", *"wbmv"], ["z"], training_mode=1),
                node("Flatten", ["z"], ["y"]),
            ],
            dict.fromkeys("wbmv", np.ones(3, np.float32)),
            "evaluation mode",
        ),
        ([node("Cast", ["x"], ["i"], to=7), node("Reshape", ["x", "i"], ["y"])], {}, "depends on the pixels"),
        ([node("ArgMax", ["x"], ["y"])], {}, "ArgMax"),
        ([node("Reshape", ["x", "n"], ["y"])], {"n": np.array([1, -1])}, "for each image"),
        ([node("ReduceMean", ["x"], ["y"], axes=[0, 2, 3], keepdims=0)], {}, "one row of scores"),
        (
            [
                node("ReduceMean", ["x"], ["m"], axes=[1, 2, 3], keepdims=0),
                node("Unsqueeze", ["m", "n"], ["y"]),
            ],
            {"n": np.array([1])},
            "one number for each image",
        ),
        ([node("Add", ["x", "z"], ["y"]), node("Relu", ["y"], ["z"])], {}, "before anything makes it"),
        ([node("Relu", ["x"], ["x"]), *FLAT], {}, "there already"),
        (
            [node("Identity", ["c"], ["y"])],
            {"c": np.ones((4, 5), np.float32)},
            "does not depend on the pixels",
        ),
        (
            [node("Conv", ["x", "w"], ["z"]), node("Flatten", ["z"], ["y"])],
            {"w": np.ones((2, 5, 3, 3), np.float32)},
            "Conv",
        ),
        (
            [node("Gather", ["x", "i"], ["z"], axis=0), node("Flatten", ["z"], ["y"])],
            {"i": np.array([0])},
            "part of the batch",
        ),
    ],
)
def test_what_is_no_function_of_one_image_is_refused(nodes: Any, constants: Any, reason: str) -> None:
    refused(model(nodes, constants), reason)


def test_the_wrong_inputs_and_outputs_are_named() -> None:
    def another_input(file: Any) -> None:
        file.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1]))

    def another_output(file: Any) -> None:
        file.graph.output.append(helper.make_tensor_value_info("f", TensorProto.FLOAT, [1, 96]))

    def of_bytes(file: Any) -> None:
        file.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8

    refused(with_changed(another_input), "one input.*'mask'")
    refused(with_changed(another_output), "one output.*'f'")
    refused(with_changed(of_bytes), "'x' is uint8")
    refused(model(FLAT, shape=("batch", 192)), "must be images")
    refused(model(FLAT, shape=("batch", 5, 8, 8)), "1 or 3 channels")
    refused(model(FLAT, shape=("batch", 3, 9, 9)), "images, not 3x8x8")


def test_old_and_future_versions_are_refused() -> None:
    refused(model(FLAT, opset=6), "version 6")
    refused(with_changed(lambda file: setattr(file.opset_import[0], "version", 999)), "version 999")


def test_another_number_of_classes_than_the_card_says_is_refused() -> None:
    with pytest.raises(BadModelFile, match="4 classes, not 3"):
        network_in(small_network().SerializeToString(), SHAPE_CHW, 3)


def test_initialisers_that_are_inputs_too_are_constants() -> None:
    """As files before version 4 of the format have them."""

    def list_them(file: Any) -> None:
        for tensor in file.graph.initializer:
            file.graph.input.append(
                helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.dims)
            )

    content = with_changed(list_them).SerializeToString()
    assert network_in(content, SHAPE_CHW, 4) is not None


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_file_ends_in_one_sentence(seed: int) -> None:
    """300 files for each seed: bytes changed, cut off, repeated, and fields of the message altered."""
    rng = np.random.default_rng(seed)
    whole = small_network(classes=3, seed=seed).SerializeToString()
    read = 0
    for _ in range(300):
        content = _altered(rng, whole)
        with suppress(BadModelFile):
            network_in(content, SHAPE_CHW, 3)
            read += 1
    assert read < 300


def _altered(rng: np.random.Generator, whole: bytes) -> bytes:
    content = bytearray(whole)
    kind = rng.integers(4)
    if kind == 0:
        for place in rng.integers(len(content), size=rng.integers(1, 9)):
            content[place] = rng.integers(256)
    elif kind == 1:
        del content[rng.integers(len(content)) :]
    elif kind == 2:
        start, end = sorted(rng.integers(len(content), size=2))
        content[start:start] = content[start:end]
    else:
        return _other_message(rng, whole)
    return bytes(content)


def _other_message(rng: np.random.Generator, whole: bytes) -> bytes:
    file = onnx.ModelProto.FromString(whole)
    changed = file.graph.node[rng.integers(len(file.graph.node))]
    kind = rng.integers(4)
    if kind == 0 and changed.attribute:
        attribute = changed.attribute[0]
        attribute.CopyFrom(helper.make_attribute(attribute.name, rng.integers(-3, 2**31, size=4).tolist()))
    elif kind == 1:
        changed.op_type = str(
            rng.choice(["Conv", "Gemm", "Reshape", "Slice", "Pad", "Resize", "Gather", "Split", "Concat"])
        )
    elif kind == 2:
        changed.input[0] = str(rng.choice(["x", "w", "head", "nothing", ""]))
    else:
        tensor = file.graph.initializer[rng.integers(len(file.graph.initializer))]
        tensor.CopyFrom(
            numpy_helper.from_array(
                rng.normal(size=rng.integers(1, 7, size=rng.integers(5))).astype("f"), tensor.name
            )
        )
    return bytes(file.SerializeToString())


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    content = small_network().SerializeToString()
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InternalError, match=r"need the package onnx.*onnx"):
        parse_onnx(content)
