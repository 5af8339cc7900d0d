"""One optimizer step, from picking images to the update; on CUDA replayed as a graph."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.augment import Augment
from training.methods.base import Method, TrainingProgress


class LaidOut(nn.Module):
    """The network, its weights and its input in one memory format."""

    def __init__(self, network: nn.Module, memory_format: torch.memory_format) -> None:
        super().__init__()
        self.network = network.to(memory_format=memory_format)
        self._format = memory_format

    def forward(self, images_BCHW: Tensor) -> Tensor:
        logits: Tensor = self.network(images_BCHW.contiguous(memory_format=self._format))
        return logits


@dataclass(frozen=True)
class Step:
    """Everything one step reads and writes, all on one device.

    images_u8 (N, C, H, W) and labels_N hold the whole training set; loss_sum is a float32 scalar that grows.
    Without images_u8 each call brings its own.
    """

    network: nn.Module
    method: Method
    optimizer: torch.optim.Optimizer
    images_u8: Tensor | None
    labels_N: Tensor
    augment: Augment | None
    generator: torch.Generator
    moment: TrainingProgress
    loss_sum: Tensor
    autocast: bool
    micro_batch: int | None = None

    def __call__(self, indices_B: Tensor, images_u8: Tensor | None = None) -> None:
        """Train on these images once: those of images_u8 (B, C, H, W) where this holds none.

        Each is repeated with the method's number of noises. With `micro_batch` gradients add up over parts of
        so many images: batch norm, and a loss that is no mean over images, then see a part at a time.
        """
        self.optimizer.zero_grad(set_to_none=True)
        size = self.micro_batch or len(indices_B)
        for part in (slice(start, start + size) for start in range(0, len(indices_B), size)):
            part_B = indices_B[part]
            images = self._picked(part_B) if images_u8 is None else images_u8[part]
            loss = self._loss(images, self.labels_N[part_B]) * (len(part_B) / len(indices_B))
            loss.backward()  # type: ignore[no-untyped-call]
            self.loss_sum.add_(loss.detach())
        self.optimizer.step()

    def _picked(self, indices_B: Tensor) -> Tensor:
        assert self.images_u8 is not None
        return self.images_u8.index_select(0, indices_B)

    def _loss(self, images_u8: Tensor, labels_B: Tensor) -> Tensor:
        if self.augment is not None:
            images_u8 = self.augment(images_u8, self.generator)
        images_BCHW = images_u8.float().div_(255)
        with torch.autocast(images_u8.device.type, torch.bfloat16, enabled=self.autocast):
            return self.method.loss(self.network, images_BCHW, labels_B, self.moment, self.generator)


class GraphedStep:
    """The same step, captured once for each batch shape and replayed: or small networks wait for launches.

    The learning rate is baked in; call `forget` after changing it. The first steps of each shape run eagerly,
    as the libraries' warm-up, and count like any other.
    """

    WARM_UP = 3  # steps before capture

    def __init__(self, step: Step, stream: torch.cuda.Stream) -> None:
        self._step = step
        self._stream = stream
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        self._seen: dict[int, int] = {}

    def __call__(self, indices_B: Tensor, images_u8: None = None) -> None:
        size = len(indices_B)
        with torch.cuda.stream(self._stream):
            if size in self._graphs:
                graph, static_B = self._graphs[size]
                static_B.copy_(indices_B)
                graph.replay()
                return
            self._seen[size] = self._seen.get(size, 0) + 1
            self._step(indices_B)
        if self._seen[size] >= self.WARM_UP:
            self._capture(indices_B)

    def forget(self) -> None:
        """Drop the captured graphs; they are captured anew with the optimizer's present settings."""
        self._graphs.clear()

    def _capture(self, indices_B: Tensor) -> None:
        torch.cuda.synchronize()
        graph, static_B = torch.cuda.CUDAGraph(), indices_B.clone()
        graph.register_generator_state(self._step.generator)
        with torch.cuda.graph(graph, stream=self._stream):
            self._step(static_B)
        self._graphs[len(static_B)] = (graph, static_B)
