"""Reference values for the speed of an engine: FLOP per vote and the peak rate of matrix products."""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from smoothcert.engines.config import DeviceKind, Precision
from smoothcert.engines.cuda import fixed_kernels
from smoothcert.engines.hardware import usable_cpus
from smoothcert.engines.pytorch import DTYPES
from smoothcert.schemas.certificate import Shape

_PRODUCTS: dict[torch.dtype, Callable[[Tensor, Tensor], Tensor]] = {torch.int8: torch._int_mm}
_SIDE: dict[DeviceKind, int] = {"cpu": 2048, "cuda": 8192}  # of the square matrices


def flop_per_vote(network: nn.Module, shape_CHW: Shape) -> int:
    """FLOP of one forward pass: two per multiply-add of convolutions and matrix products."""
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
