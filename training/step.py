"""One optimizer step: select images, augment, loss, update; on CUDA replayed as a graph. Its peak memory."""

import ctypes
import resource
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from smoothcert.errors import InvalidRequest
from smoothcert.models.architectures import BasicBlock
from training.datasets.base import Augment, Schedule
from training.methods.base import Method, TrainingProgress


@dataclass(frozen=True)
class Step:
    """Everything that one step reads and writes, on one device.

    images_u8: the training set (N, C, H, W), or None if each call brings its images. labels_N: of the whole
    set. loss_sum: float32 scalar, sum of the steps' losses. autocast: bfloat16. micro_batch: images per
    forward pass. shares_NK: vote shares of the whole set, for a method that uses them. classifier: the frozen
    one, if `network` is a denoiser.
    """

    network: nn.Module
    method: Method
    optimizer: torch.optim.Optimizer
    images_u8: Tensor | None
    labels_N: Tensor
    augment: Augment | None
    generator: torch.Generator
    progress: TrainingProgress
    loss_sum: Tensor
    autocast: bool
    micro_batch: int | None = None
    shares_NK: Tensor | None = None
    classifier: nn.Module | None = None

    def __call__(self, indices_B: Tensor, images_u8: Tensor | None = None) -> None:
        """Train on these images once. images_u8: (B, C, H, W), if the step holds none.

        With `micro_batch` gradients are summed over parts of the batch. Batch norm, and a loss that is not a
        mean over images, then see one part at a time.
        """
        self.optimizer.zero_grad(set_to_none=True)
        size = self.micro_batch or len(indices_B)
        for part in (slice(start, start + size) for start in range(0, len(indices_B), size)):
            part_B = indices_B[part]
            images = self._select(part_B) if images_u8 is None else images_u8[part]
            loss = self._loss(images, part_B) * (len(part_B) / len(indices_B))
            loss.backward()  # type: ignore[no-untyped-call]
            self.loss_sum.add_(loss.detach())
        self.optimizer.step()

    def _select(self, indices_B: Tensor) -> Tensor:
        assert self.images_u8 is not None
        return self.images_u8.index_select(0, indices_B)

    def _loss(self, images_u8: Tensor, indices_B: Tensor) -> Tensor:
        extra: dict[str, Any] = {}
        if self.shares_NK is not None:
            extra["shares_BK"] = self.shares_NK.index_select(0, indices_B)
        if self.classifier is not None:
            extra["classifier"] = self.classifier
        if self.augment is not None:
            images_u8 = self.augment(images_u8, self.generator)
        images_BCHW = images_u8.float().div_(255)
        with torch.autocast(images_u8.device.type, torch.bfloat16, enabled=self.autocast):
            return self.method.loss(
                self.network, images_BCHW, self.labels_N[indices_B], self.progress, self.generator, **extra
            )


# What an optimizer keeps of each parameter: its name in a state, and PyTorch's.
KEPT: dict[type[torch.optim.Optimizer], dict[str, str]] = {
    torch.optim.SGD: {"momentum": "momentum_buffer"},
    torch.optim.Adam: {"adam_mean": "exp_avg", "adam_square": "exp_avg_sq", "adam_step": "step"},
}


def build_optimizer(network: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """The schedule's optimizer of the parameters that are trained."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    common: dict[str, Any] = {"lr": schedule.lr_at(0), "weight_decay": schedule.weight_decay, "fused": True}
    if schedule.optimizer == "adam":
        # A step that is captured as a CUDA graph keeps its number on the device.
        return torch.optim.Adam(trained, capturable=trained[0].is_cuda, **common)
    return torch.optim.SGD(trained, momentum=schedule.momentum, **common)


def optimizer_state(optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, Tensor]:
    """Everything that the optimizer keeps, by the names of the network's parameters."""
    return {
        name: optimizer.state[parameter].get(own, _before_first_step(own, parameter))
        for name, own, parameter in _kept(optimizer, network)
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, network: nn.Module, tensors: dict[str, Tensor]
) -> None:
    """Take over what `optimizer_state` returned. tensors: these among others."""
    for name, own, parameter in _kept(optimizer, network):
        optimizer.state[parameter][own] = _before_first_step(own, parameter).copy_(tensors[name])


def _kept(optimizer: torch.optim.Optimizer, network: nn.Module) -> Iterator[tuple[str, str, nn.Parameter]]:
    """Of each kept tensor: its name in a state, PyTorch's name, and the parameter."""
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            yield from ((f"{kept}.{name}", own, parameter) for kept, own in KEPT[type(optimizer)].items())


def _before_first_step(own: str, parameter: nn.Parameter) -> Tensor:
    """0, in the parameter's memory format, which the fused update requires."""
    if own == "step":
        return torch.zeros((), device=parameter.device)
    return torch.zeros_like(parameter, requires_grad=False)


class CudaGraphStep:
    """A step captured once per batch size and replayed, which saves kernel launches.

    The learning rate is part of the graph: call `reset` after changing it. The first steps of each batch size
    run eagerly, as warm-up of the libraries, and count like any other.
    """

    WARM_UP = 3  # steps before capture

    def __init__(self, step: Step, stream: torch.cuda.Stream) -> None:
        self._step = step
        self._stream = stream
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        self._steps_done: dict[int, int] = {}

    def __call__(self, indices_B: Tensor, images_u8: None = None) -> None:
        size = len(indices_B)
        with torch.cuda.stream(self._stream):
            if size in self._graphs:
                graph, static_B = self._graphs[size]
                static_B.copy_(indices_B)
                graph.replay()
                return
            self._steps_done[size] = self._steps_done.get(size, 0) + 1
            self._step(indices_B)
        if self._steps_done[size] >= self.WARM_UP:
            self._capture(indices_B)

    def reset(self) -> None:
        """Drop the graphs; they are captured again with the optimizer's current settings."""
        self._graphs.clear()

    def _capture(self, indices_B: Tensor) -> None:
        torch.cuda.synchronize()
        graph, static_B = torch.cuda.CUDAGraph(), indices_B.clone()
        graph.register_generator_state(self._step.generator)
        with torch.cuda.graph(graph, stream=self._stream):
            self._step(static_B)
        self._graphs[len(static_B)] = (graph, static_B)


class InMemoryFormat(nn.Module):
    """A network whose weights and input have one memory format."""

    def __init__(self, network: nn.Module, memory_format: torch.memory_format) -> None:
        super().__init__()
        self.network = network.to(memory_format=memory_format)
        self._format = memory_format

    def forward(self, images_BCHW: Tensor) -> Tensor:
        logits: Tensor = self.network(images_BCHW.contiguous(memory_format=self._format))
        return logits


def has_compiler(device: torch.device) -> bool:
    """Whether torch.compile works here: it needs Triton on CUDA, else a C++ compiler."""
    if device.type == "cuda":
        from torch.utils._triton import has_triton  # noqa: PLC0415

        return bool(has_triton())
    return any(map(shutil.which, ("g++", "clang++")))


def has_residual_blocks(network: nn.Module) -> bool:
    """Whether `compile_blocks` has anything to compile."""
    return any(isinstance(module, BasicBlock) for module in network.modules())


def compile_blocks(network: nn.Module, device: torch.device) -> None:
    """Compile each residual block, not the whole network: blocks of one shape share the compiled code.

    Raises InvalidRequest without a compiler, as an uncompiled run would get other weights.
    """
    if not has_compiler(device):
        needed = "Triton" if device.type == "cuda" else "a C++ compiler (g++ or clang++)"
        raise InvalidRequest(f"This run is compiled, which needs {needed}; install it, or start another run.")
    for module in network.modules():
        if isinstance(module, BasicBlock):
            module.compile(dynamic=False)


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
