"""The memory that training takes: its peak is told, what is freed is kept for the next step."""

import ctypes
import resource
import sys

import torch

MIB = 1 << 20
RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT = 1 << 30  # bytes


def peak_memory_mib(device: torch.device) -> int:
    """Allocated by this process on a GPU; without one, resident in memory. MiB, since the process began."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device) // MIB)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT // MIB


def keep_freed_memory() -> None:
    """Tell glibc to keep what is freed for the next step, which takes as much again; elsewhere nothing.

    By default it hands the top of its heap back to the system at each step, and every page of the next step's
    activations is then a fault: a sixth of the time of LeNet's step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 32 * MIB)  # glibc's largest
        mallopt(M_TRIM_THRESHOLD, KEPT)
