"""How much memory training took at most."""

import resource
import sys

import torch

MIB = 1 << 20
RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes


def peak_memory_mib(device: torch.device) -> int:
    """Allocated by this process on a GPU; without one, resident in memory. MiB, since the process began."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device) // MIB)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT // MIB
