"""What this machine is, in the words of a certificate: could it cast the same votes again?"""

import os
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from certification.contract.certificate import Engine
from certification.setup import DeviceKind, Setup


def describe(setup: Setup) -> Engine:
    """The set-up, the device it runs on and the versions it runs with."""
    return Engine(
        device=device_name(setup.device),
        backend=setup.backend_text,
        precision=setup.precision,
        batch=setup.batch,
        versions=versions(setup),
    )


def device_name(device: DeviceKind) -> str:
    """`cpu`, or the GPU's name."""
    return "cpu" if device == "cpu" else torch.cuda.get_device_name()


def versions(setup: Setup) -> dict[str, str]:
    """Libraries whose kernels decide the votes; for a CPU also its model and the instructions used on it."""
    found = {"torch": str(torch.__version__)}
    if setup.device == "cuda":
        found["cuda"] = str(torch.version.cuda)
        found["cudnn"] = str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]
    else:
        found["cpu"] = f"{cpu_model()}, {torch.backends.cpu.get_cpu_capability()}"
    if setup.backend == "openvino":
        found["openvino"] = package_version("openvino")
    return found


def package_version(name: str) -> str:
    """The installed version, or `none`."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


@lru_cache
def cpu_model() -> str:
    """The processor's model name as Linux tells it; elsewhere `unknown`."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown"
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )


def usable_cpus() -> int:
    """Processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
