"""The set-ups worth trying on a device, the likeliest best first."""

from importlib.util import find_spec
from itertools import product

import torch

from certification.hardware import has_bfloat16, usable_cpus
from certification.setup import Backend, DeviceKind, Precision, Setup

Shape = tuple[int, int, int]  # C,H,W
_CPU_BATCHES = (128, 256, 64)  # small: activations stay in cache
_CUDA_BATCHES = {10_000: (4096, 8192, 2048), 200_000: (256, 512, 128)}  # by C*H*W at most
_HUGE_CUDA_BATCHES = (64, 32)
_CUDA_BACKENDS: tuple[Backend, ...] = ("cuda-graph", "compile-cuda-graph")
_HALVES: tuple[Precision, ...] = ("bfloat16", "float16")
_PRECISIONS: tuple[Precision, ...] = ("bfloat16", "tf32", "float32")


def available_device() -> DeviceKind:
    """`cuda` where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def default_setup(shape_CHW: Shape, device: DeviceKind, threads: int | None = None) -> Setup:
    """A good set-up without measuring: the first candidate."""
    return candidates(shape_CHW, device, threads)[0]


def candidates(shape_CHW: Shape, device: DeviceKind, threads: int | None = None) -> list[Setup]:
    """Set-ups to measure, best guess first. threads: of the CPU, by default all that this process may use."""
    if device == "cuda":
        return _cuda_candidates(shape_CHW)
    return _cpu_candidates(shape_CHW, threads or usable_cpus())


def _cuda_candidates(shape_CHW: Shape) -> list[Setup]:
    channels, height, width = shape_CHW
    pixels = channels * height * width
    batches = next((sizes for most, sizes in _CUDA_BATCHES.items() if pixels <= most), _HUGE_CUDA_BATCHES)
    tried = [
        Setup("cuda", backend, precision, batch)
        for batch, backend, precision in product(batches, _CUDA_BACKENDS, _HALVES)
    ]
    plain = [Setup("cuda", "eager", precision, batches[0]) for precision in _PRECISIONS]
    return tried + plain


def _cpu_candidates(shape_CHW: Shape, threads: int) -> list[Setup]:
    channels, height, width = shape_CHW
    small = channels * height * width <= 10_000
    batches = _CPU_BATCHES if small else (16, 8, 32)
    backends: tuple[Backend, ...] = ("openvino", "eager") if find_spec("openvino") else ("eager",)
    precisions: tuple[Precision, ...] = ("bfloat16", "float32") if has_bfloat16() else ("float32",)
    tried = [
        Setup("cpu", backend, precision, batch, threads=threads)
        for backend, precision, batch in product(backends, precisions, batches)
    ]
    compiled = [Setup("cpu", "compile", precisions[0], batch, threads=threads) for batch in batches[:2]]
    return tried + compiled
