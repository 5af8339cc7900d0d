"""The memory that training takes: a run's own peak is told, what is freed is kept for the next step."""

import ctypes
import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch

MIB = 1 << 20
RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT = 1 << 30  # bytes
STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")  # Linux
FORGET_PEAK = "5"
PEAK_FIELD = "VmHWM:"  # kB


def forget_peak(device: torch.device) -> None:
    """Count from here. Where the system doesn't offer that, the peak stays that of the whole process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)  # what an earlier run in this process left to the next one
    with suppress(OSError):
        FORGET.write_text(FORGET_PEAK)


def peak_memory_mib(device: torch.device) -> int:
    """Allocated by this process on a GPU; without one, resident in memory. MiB, since `forget_peak`."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device) // MIB)
    return (_peak_of_linux() or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT) // MIB


def _peak_of_linux() -> int | None:
    """Bytes. getrusage's figure can't be reset, and counts what the parent of this process held."""
    with suppress(OSError):
        for line in STATUS.read_text().splitlines():
            if line.startswith(PEAK_FIELD):
                return int(line.split()[1]) * 1024
    return None


def keep_freed_memory() -> None:
    """Tell glibc to keep what is freed for the next step, which takes as much again; elsewhere nothing.

    By default it hands the top of its heap back to the system at each step, and every page of the next step's
    activations is then a fault: a fifth of the time of LeNet's step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 32 * MIB)  # glibc's largest
        mallopt(M_TRIM_THRESHOLD, KEPT)
