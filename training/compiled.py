"""Residual blocks through torch.compile, where this machine has the compiler it needs."""

import shutil

import torch
from torch import nn

from smoothcert.errors import InvalidRequest
from smoothcert.models.architectures.resnet_cifar import BasicBlock


def has_compiler(device: torch.device) -> bool:
    """Whether torch.compile can work here: Triton on CUDA, else a C++ compiler."""
    if device.type == "cuda":
        from torch.utils._triton import has_triton  # noqa: PLC0415

        return bool(has_triton())
    return any(map(shutil.which, ("g++", "clang++")))


def has_blocks(network: nn.Module) -> bool:
    """Whether there is anything for `compile_blocks` to compile."""
    return any(isinstance(module, BasicBlock) for module in network.modules())


def compile_blocks(network: nn.Module, device: torch.device) -> None:
    """Compile each residual block, not the whole network: blocks of one shape share the compiled code.

    Raises InvalidRequest where there is no compiler: uncompiled it would get other weights.
    """
    if not has_compiler(device):
        needed = "Triton" if device.type == "cuda" else "a C++ compiler (g++ or clang++)"
        raise InvalidRequest(f"This run is compiled, which needs {needed}; install it, or start another run.")
    for module in network.modules():
        if isinstance(module, BasicBlock):
            module.compile(dynamic=False)
