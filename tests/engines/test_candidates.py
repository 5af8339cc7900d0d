"""Which engine configs are tried where, the likeliest best first."""

import pytest

from smoothcert.engines import autotune
from smoothcert.engines.autotune import candidates, compiled, default_config
from smoothcert.engines.config import EngineConfig


@pytest.fixture(autouse=True)
def able_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO is there, bfloat16 and eight-bit integers are multiplied, on six processors."""
    monkeypatch.setattr(autotune, "find_spec", lambda name: name)
    monkeypatch.setattr(autotune, "has_bfloat16", lambda: True)
    monkeypatch.setattr(autotune, "has_int8", lambda: True)
    monkeypatch.setattr(autotune, "usable_cpus", lambda: 6)


def cpu(backend: str, precision: str, batch: int) -> EngineConfig:
    return EngineConfig("cpu", backend, precision, batch, threads=6)  # type: ignore[arg-type]


def test_on_a_cpu_the_best_guess_is_tried_in_several_batches_and_the_rest_once() -> None:
    assert candidates((1, 28, 28), "cpu") == [
        *(cpu("openvino", "bfloat16", batch) for batch in (128, 256, 64)),
        cpu("openvino", "float32", 128),
        cpu("eager", "bfloat16", 128),
        cpu("eager", "float32", 128),
    ]


def test_int8_is_tried_first_where_it_may_be_and_the_others_after_it() -> None:
    tried = candidates((1, 28, 28), "cpu", int8=True)
    assert [config.precision for config in tried] == ["int8"] * 3 + ["bfloat16", "float32"] * 2
    assert "int8" not in [config.precision for config in candidates((1, 28, 28), "cpu")]


def test_what_the_machine_lacks_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autotune, "find_spec", lambda name: None)
    monkeypatch.setattr(autotune, "has_bfloat16", lambda: False)
    tried = candidates((1, 28, 28), "cpu", int8=True)
    assert {(config.backend, config.precision) for config in tried} == {("eager", "float32")}


@pytest.mark.parametrize(
    ("shape", "device", "batches"),
    [
        ((1, 100, 100), "cpu", [128, 256, 64]),
        ((1, 73, 137), "cpu", [16, 8, 32]),  # 10 001 pixels no longer fit the cache by the hundred
        ((1, 10, 100), "cuda", [8192, 16384, 4096]),
        ((7, 11, 13), "cuda", [4096, 2048, 8192]),
        ((1, 100, 100), "cuda", [4096, 2048, 8192]),
        ((1, 73, 137), "cuda", [256, 512, 128]),
        ((2, 1000, 100), "cuda", [256, 512, 128]),
        ((3, 163, 409), "cuda", [64, 32]),
    ],
)
def test_larger_images_come_in_smaller_batches(
    shape: tuple[int, int, int], device: str, batches: list[int]
) -> None:
    tried = candidates(shape, device)  # type: ignore[arg-type]
    assert list(dict.fromkeys(config.batch for config in tried)) == batches


def test_on_a_gpu_graphs_come_first_and_plain_ones_at_the_first_batch_are_the_last_resort() -> None:
    *graphs, bfloat16, tf32 = candidates((3, 600, 600), "cuda")
    assert [(graph.batch, graph.precision) for graph in graphs] == [
        (64, "bfloat16"), (64, "float16"), (32, "bfloat16"), (32, "float16"),
    ]  # fmt: skip
    assert {graph.backend for graph in graphs} == {"cuda-graph"}
    assert bfloat16 == EngineConfig("cuda", "eager", "bfloat16", 64)
    assert tf32 == EngineConfig("cuda", "eager", "tf32", 64)


def test_the_default_is_the_first_candidate_with_as_many_threads_as_asked_for() -> None:
    assert default_config((1, 28, 28), "cpu") == cpu("openvino", "bfloat16", 128)
    assert default_config((1, 28, 28), "cpu", 2, int8=True) == EngineConfig(
        "cpu", "openvino", "int8", 128, threads=2
    )


@pytest.mark.parametrize(("present", "device"), [(True, "cuda"), (False, "cpu")])
def test_a_gpu_is_taken_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, present: bool, device: str
) -> None:
    monkeypatch.setattr(autotune.torch.cuda, "is_available", lambda: present)
    assert autotune.available_device() == device


def test_what_is_compiled_already_has_no_compiled_form() -> None:
    eager = EngineConfig("cpu", "eager", "float32", 8, threads=1)
    assert str(compiled(eager)) == "cpu:compile/channels-last/folded/1-threads:float32:8"
    assert compiled(EngineConfig("cpu", "compile", "float32", 8, threads=1)) is None
