"""This machine: its description for certificates, and the peak speed that engines are compared with.

The same description means the same votes.
"""

import math
import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import Tensor, nn

from smoothcert.engines.config import DeviceKind, EngineConfig, Precision
from smoothcert.engines.cuda import fixed_kernels
from smoothcert.engines.pytorch import DTYPES
from smoothcert.schemas.certificate import EngineDescription, Shape

# Instruction sets that decide kernels, beyond those in torch's capability.
_KERNELS = ("avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16", "amx_fp16")

# Environment variables that change kernels, precision or summation order.
_ONEDNN = r"(ONEDNN|DNNL)_(MAX_CPU_ISA|CPU_ISA_HINTS|DEFAULT_FPMATH_MODE)"
_MKL = r"MKL_(CBWR|ENABLE_INSTRUCTIONS|DEBUG_CPU_TYPE|VML_MODE)"
_INDUCTOR = r"TORCHINDUCTOR_(?!CACHE_DIR|COMPILE_THREADS)\w+"
_CUBLAS = r"NVIDIA_TF32_OVERRIDE|TORCH_ALLOW_TF32_CUBLAS_OVERRIDE|TORCH_BLAS_PREFER_\w+|CUBLAS(LT)?_\w+"
_STEERING: dict[DeviceKind, re.Pattern[str]] = {
    "cpu": re.compile(f"{_ONEDNN}|{_MKL}|OPENBLAS_CORETYPE|{_INDUCTOR}"),
    "cuda": re.compile(f"{_CUBLAS}|{_INDUCTOR}"),
}


def describe(config: EngineConfig) -> EngineDescription:
    """The engine of a config on this machine: device and library versions."""
    return EngineDescription(
        device=device_name(config.device),
        backend=config.backend_text,
        precision=config.precision,
        batch=config.batch,
        versions=versions(config),
    )


def device_name(device: DeviceKind) -> str:
    """`cpu` or the name of the GPU."""
    return "cpu" if device == "cpu" else torch.cuda.get_device_name()


def versions(config: EngineConfig) -> dict[str, str]:
    """Libraries whose kernels decide the votes; for a CPU also its model and instruction sets."""
    found = platform_versions(config.device)
    if config.backend != "openvino":
        del found["openvino"]
    if "compile" not in config.backend:
        del found["compiler"]
    return found


def platform_versions(device: DeviceKind) -> dict[str, str]:
    """All versions that any config on this device may depend on.

    Includes SmoothCert's own: an upgrade may change the votes or the looks, so no job continues across one.
    """
    found = {
        "smoothcert": package_version("smoothcert"),
        "torch": str(torch.__version__),
        "openvino": package_version("openvino"),
    }
    if device == "cuda":
        found["cuda"] = ", ".join([str(torch.version.cuda), *kernel_variables(os.environ, device)])
        found["cudnn"] = str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]
        found["compiler"] = f"triton {package_version('triton')}"
    else:
        found["cpu"] = ", ".join(
            [cpu_model(), torch.backends.cpu.get_cpu_capability(), *kernel_variables(os.environ)]
        )
        found["compiler"] = cpp_compiler()
    return found


@lru_cache
def cpp_compiler() -> str:
    """Name and version of the C++ compiler of torch.compile, or `none`."""
    command = [os.environ.get("CXX", "g++"), "--version"]  # the one that inductor calls
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return "none"
    return done.stdout.partition("\n")[0]


def package_version(name: str) -> str:
    """The installed version, or `none`."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


@lru_cache
def cpu_model() -> str:
    """This machine's processor on Linux; elsewhere `unknown`."""
    return processor(_cpuinfo())


def processor(cpuinfo: dict[str, str]) -> str:
    """Name, family, model and instruction sets for neural networks.

    The name is not enough: under a hypervisor several generations are all called `AMD EPYC`.
    """
    name, flags = cpuinfo.get("model name", "unknown"), cpuinfo.get("flags", "").split()
    make = [cpuinfo[key] for key in ("cpu family", "model") if key in cpuinfo]
    special = [flag for flag in _KERNELS if flag in flags]
    return " ".join([name, *([f"({'/'.join(make)})"] if make else []), *special])


@lru_cache
def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 natively; emulated it is slower than float32."""
    flags = set(_cpuinfo().get("flags", "").split())
    return bool(flags & {"avx512_bf16", "amx_bf16"})


@lru_cache
def has_int8() -> bool:
    """Whether the processor sums products of 8-bit integers exactly (VNNI, AMX).

    Others saturate, also if oneDNN's environment variables disable these instructions: slower, and another
    function.
    """
    flags = set(_cpuinfo().get("flags", "").split())
    forbidden = any(re.fullmatch(_ONEDNN, name) for name in os.environ)
    return bool(flags & {"avx512_vnni", "avx_vnni", "amx_int8"}) and not forbidden


def kernel_variables(environment: Mapping[str, str], device: DeviceKind = "cpu") -> list[str]:
    """The environment variables that affect a device's kernels, as sorted `NAME=value`."""
    names = sorted(name for name in environment if _STEERING[device].fullmatch(name))
    return [f"{name}={environment[name]}" for name in names if name != "OPENBLAS_CORETYPE" or _has_openblas()]


def _has_openblas() -> bool:
    """Whether PyTorch uses OpenBLAS (on arm64); builds with MKL do not."""
    return not torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]


def _cpuinfo() -> dict[str, str]:
    """/proc/cpuinfo of the first processor; empty elsewhere."""
    try:
        first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def usable_cpus() -> int:
    """Processors this process may use: its CPU affinity, or less under a container's CPU quota.

    With a quota of 4 processors on a machine of 64, 64 threads would mostly wait.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(allowed, cpu_quota(_own_group()))))


def limit_threads_to_quota() -> None:
    """Limit PyTorch's threads to `usable_cpus`, as it starts one per core by default."""
    if usable_cpus() < torch.get_num_threads():
        torch.set_num_threads(usable_cpus())


def cpu_quota(group: Path) -> float:
    """CPU quota of a Linux control group (version 2), in processors; `inf` without a limit."""
    granted = math.inf
    for folder in (group, *group.parents):
        with suppress(OSError, ValueError):  # no such group here; or `max`
            quota, period = map(int, (folder / "cpu.max").read_text().split())
            granted = min(granted, quota / period)
    return granted


def _own_group() -> Path:
    try:
        groups = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        groups = []
    own = next((group.removeprefix("0::") for group in groups if group.startswith("0::")), "/")
    return Path("/sys/fs/cgroup") / own.lstrip("/")


_PRODUCTS: dict[torch.dtype, Callable[[Tensor, Tensor], Tensor]] = {torch.int8: torch._int_mm}
_SIDE: dict[DeviceKind, int] = {"cpu": 2048, "cuda": 8192}  # of the square matrices


def flop_per_vote(network: nn.Module, shape_CHW: Shape) -> int:
    """FLOP of one forward pass: two per multiply-add of convolutions and matrix products."""
    from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415  # loads triton

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.zeros(1, *shape_CHW))
    return int(counter.get_total_flops())


def peak_matmul_rate(device: DeviceKind, precision: Precision, seconds: float = 1.0) -> float:
    """FLOP per second of a large square matrix product on the whole device: the best within `seconds`."""
    threads = torch.get_num_threads()
    torch.set_num_threads(usable_cpus())
    try:
        with fixed_kernels(precision == "tf32"):
            return _best_rate(device, precision, seconds)
    finally:
        torch.set_num_threads(threads)


def _best_rate(device: DeviceKind, precision: Precision, seconds: float) -> float:
    side, dtype = _SIDE[device], torch.int8 if precision == "int8" else DTYPES[precision]
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    _timed(a, b)  # warm-up
    best, ends = float("inf"), time.perf_counter() + seconds
    while best == float("inf") or time.perf_counter() < ends:
        best = min(best, _timed(a, b))
    return 2 * side**3 / best


def _timed(a: Tensor, b: Tensor) -> float:
    start = time.perf_counter()
    _PRODUCTS.get(a.dtype, torch.mm)(a, b)
    if a.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start
