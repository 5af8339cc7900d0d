"""The engine configs worth trying on a device, the most promising first."""

from dataclasses import replace
from importlib.util import find_spec
from itertools import product

import torch

from smoothcert.engines.config import Backend, DeviceKind, EngineConfig, Precision
from smoothcert.engines.hardware import has_bfloat16, has_int8, usable_cpus
from smoothcert.schemas.certificate import Shape

_SMALL_IMAGE = 10_000  # C*H*W of images that fit a CPU's cache by the hundred
_CPU_BATCHES = (128, 256, 64)
_CPU_BATCHES_LARGE = (16, 8, 32)
_CUDA_BATCHES = {  # by C*H*W at most
    1_000: (8192, 16384, 4096),
    10_000: (4096, 2048, 8192),
    200_000: (256, 512, 128),
}
_CUDA_BATCHES_LARGE = (64, 32)
_CUDA_PRECISIONS: tuple[Precision, ...] = ("bfloat16", "float16")
_COMPILED: dict[Backend, Backend] = {
    "eager": "compile",
    "openvino": "compile",
    "cuda-graph": "compile-cuda-graph",
}


def available_device() -> DeviceKind:
    """`cuda` if there is a CUDA device, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def default_config(
    shape_CHW: Shape, device: DeviceKind, threads: int | None = None, *, int8: bool = False
) -> EngineConfig:
    """A good config without measuring: the first candidate."""
    return candidates(shape_CHW, device, threads, int8=int8)[0]


def candidates(
    shape_CHW: Shape, device: DeviceKind, threads: int | None = None, *, int8: bool = False
) -> list[EngineConfig]:
    """Configs that build in about a second, the most promising first. threads: of the CPU, by default all.

    int8: whether this model may be run so unasked (`ModelCard.int8_is_as_good`).
    """
    channels, height, width = shape_CHW
    pixels = channels * height * width
    if device == "cuda":
        return _cuda_candidates(pixels)
    return _cpu_candidates(pixels, threads or usable_cpus(), int8)


def compiled(setup: EngineConfig) -> EngineConfig | None:
    """The same config through torch.compile, which may build for minutes; None if it is compiled already."""
    backend = _COMPILED.get(setup.backend)
    return None if backend is None else replace(setup, backend=backend)


def _cuda_candidates(pixels: int) -> list[EngineConfig]:
    batches = next((sizes for most, sizes in _CUDA_BATCHES.items() if pixels <= most), _CUDA_BATCHES_LARGE)
    graphs = [
        EngineConfig("cuda", "cuda-graph", precision, batch)
        for batch, precision in product(batches, _CUDA_PRECISIONS)
    ]
    return [
        *graphs,
        EngineConfig("cuda", "eager", "bfloat16", batches[0]),
        EngineConfig("cuda", "eager", "tf32", batches[0]),
    ]


def _cpu_candidates(pixels: int, threads: int, int8: bool) -> list[EngineConfig]:
    batches = _CPU_BATCHES if pixels <= _SMALL_IMAGE else _CPU_BATCHES_LARGE
    backends: tuple[Backend, ...] = ("openvino", "eager") if find_spec("openvino") else ("eager",)
    precisions: tuple[Precision, ...] = ("bfloat16", "float32") if has_bfloat16() else ("float32",)
    rounded = int8 and backends[0] == "openvino" and has_int8()
    quick: Precision = "int8" if rounded else precisions[0]
    best = [EngineConfig("cpu", backends[0], quick, batch, threads=threads) for batch in batches]
    others = [
        EngineConfig("cpu", backend, precision, batches[0], threads=threads)
        for backend, precision in product(backends, precisions)
    ]
    return best + [setup for setup in others if setup not in best]
