"""A run's peak memory, and malloc settings for training steps."""

import ctypes
import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch

MIB = 1 << 20
RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes per unit of ru_maxrss
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
TRIM_THRESHOLD = 1 << 30  # bytes
STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")  # Linux
CLEAR_PEAK = "5"  # proc(5): resets VmHWM
PEAK_FIELD = "VmHWM:"  # kB


def reset_peak_memory(device: torch.device) -> None:
    """Start to measure the peak. Where the system cannot reset it, it stays that of the whole process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)  # memory that an earlier run freed but malloc kept
    with suppress(OSError):
        CLEAR_REFS.write_text(CLEAR_PEAK)


def peak_memory_mib(device: torch.device) -> int:
    """MiB since `reset_peak_memory`: allocated GPU memory on CUDA, else resident memory."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device) // MIB)
    return (_linux_peak() or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT) // MIB


def _linux_peak() -> int | None:
    """Bytes. Unlike getrusage's figure it can be reset, and excludes the parent process."""
    with suppress(OSError):
        for line in STATUS.read_text().splitlines():
            if line.startswith(PEAK_FIELD):
                return int(line.split()[1]) * 1024
    return None


def keep_freed_memory() -> None:
    """Make glibc keep freed memory for the next step; no effect with other C libraries.

    By default glibc returns the top of its heap to the system at each step. The next step then takes a page
    fault for every page of its activations: a fifth of the time of LeNet's step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 32 * MIB)  # glibc's maximum
        mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD)
