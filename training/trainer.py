"""The training loop: one recipe on one device, step by step, able to resume after a kill."""

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from smoothcert.errors import InvalidRequest
from smoothcert.models.architectures import DenoisedClassifier
from training import distributed
from training.datasets.base import augmentation_for
from training.datasets.image_set import ImageSet
from training.methods.base import TrainingProgress
from training.recipe import Recipe, fresh_network
from training.step import (
    CudaGraphStep,
    InMemoryFormat,
    Step,
    build_optimizer,
    compile_blocks,
    optimizer_state,
    peak_memory_mib,
    reset_peak_memory,
    restore_optimizer,
)

GLOBAL_GENERATOR = "global_generator"  # name in a state: torch's default CPU generator
GREY = 0.5  # of pixels in [0,1]


@dataclass(frozen=True)
class Position:
    """Where a run stands: `step` optimizer steps of `epoch` (from 0) are done. seconds: spent so far."""

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class EpochRecord:
    """Metrics of one epoch.

    loss: mean over its steps. seconds: since the run began. peak_memory_mib: since the process began or
    resumed the run; GPU memory on CUDA, else resident memory.
    """

    epoch: int
    loss: float
    lr: float
    seconds: float
    peak_memory_mib: int = 0


class Trainer:
    """One training run. `steps()` trains; between two steps the state can be saved and restored.

    Several trainers can share a GPU: each has its own stream, so that alternating their `steps()` overlaps
    them.
    """

    def __init__(
        self,
        recipe: Recipe,
        images: ImageSet,
        device: torch.device,
        shares_NK: Tensor | None = None,
        classifier: nn.Module | None = None,
    ) -> None:
        """shares_NK: vote shares of the images, for a method that uses them. classifier: see fresh_network.

        Raises InvalidRequest: unknown architecture, or one that does not fit the images.
        """
        self.recipe = recipe
        self.images = images
        self.position = Position()
        self.records: list[EpochRecord] = []
        self.device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        reset_peak_memory(device)
        with self._on_stream():
            torch.manual_seed(recipe.seed)  # for the fresh weights and dropout
            self.network = fresh_network(recipe, images, classifier).to(device)
            self._optimizer = build_optimizer(self.network, recipe.schedule)
            self._step = self._build_step(images, shares_NK)
        self._run_step: CudaGraphStep | Step = (
            CudaGraphStep(self._step, self._stream)
            if self._stream and self._step.images_u8 is not None and not distributed.is_distributed()
            else self._step
        )

    @property
    def steps_per_epoch(self) -> int:
        return len(self._slices)

    @property
    def peak_memory_mib(self) -> int:
        """Of the whole run, including the parts before a resumption."""
        return max([peak_memory_mib(self.device), *(record.peak_memory_mib for record in self.records)])

    @property
    def done(self) -> bool:
        return self.position.epoch >= self.recipe.schedule.epochs

    def steps(self) -> Iterator[Position]:
        """Train to the end of the schedule; yields after every step (CUDA may still be computing it).

        Raises InvalidRequest at the end of an epoch in which the training has diverged.
        """
        while not self.done:
            yield from self._epoch()

    def trial_steps(self) -> Iterator[None]:
        """The run's first step again and again, for timing; each is finished when yielded.

        The trainer cannot be used for training afterwards.
        """
        with self._on_stream():
            batch_B = self._order(0)[self._slices[0]]
        ((indices_B, images_u8),) = self._batches([batch_B])
        while True:
            with self._on_stream():
                self._run_step(indices_B, images_u8)
            if self._stream:
                self._stream.synchronize()
            yield

    def start_from(self, weights: dict[str, Tensor]) -> None:
        """Replace the fresh weights by these, under the network's own names."""
        with self._on_stream():
            self.network.load_state_dict(weights)

    def state(self) -> dict[str, Tensor]:
        """Weights, optimizer, generators and the loss so far, on the CPU; only between two steps."""
        with self._on_stream():
            tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
            tensors |= optimizer_state(self._optimizer, self.network)
            tensors["generator"] = self._step.generator.get_state()
            tensors[GLOBAL_GENERATOR] = torch.get_rng_state()
            tensors["loss_sum"] = self._step.loss_sum
            return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}

    def restore(self, tensors: dict[str, Tensor], position: Position) -> None:
        """Continue from what `state()` returned at that position."""
        self.position = position
        with self._on_stream():
            self.network.load_state_dict(_strip(tensors, "network."))
            restore_optimizer(self._optimizer, self.network, tensors)
            self._step.generator.set_state(tensors["generator"])
            if GLOBAL_GENERATOR in tensors:  # absent from states of version 0.1; only dropout needs it
                torch.set_rng_state(tensors[GLOBAL_GENERATOR])
            self._step.loss_sum.copy_(tensors["loss_sum"])

    def _epoch(self) -> Iterator[Position]:
        schedule, epoch = self.recipe.schedule, self.position.epoch
        self._set_lr(schedule.lr_at(epoch))
        self._clock = time.monotonic() - self.position.seconds
        with self._on_stream():
            order_N = self._order(epoch)
        batches = [order_N[part] for part in self._slices[self.position.step :]]
        for index, (indices_B, images_u8) in enumerate(self._batches(batches), self.position.step):
            with self._on_stream():
                self._step.progress.epoch.fill_(epoch + index / self.steps_per_epoch)
                self._run_step(indices_B, images_u8)
            self.position = Position(epoch, index + 1, time.monotonic() - self._clock)
            yield self.position
        self._end_epoch(epoch, schedule.lr_at(epoch))

    def _batches(self, batches: list[Tensor]) -> Iterator[tuple[Tensor, Any]]:
        """Each batch of indices, with its images if the step does not hold them."""
        images = self.images.images_u8
        if isinstance(images, Tensor):
            yield from ((indices_B, None) for indices_B in batches)
            return
        for indices_B, images_u8 in zip(batches, images.batches(batches), strict=True):
            with self._on_stream():
                on_device_u8 = images_u8.to(self.device)
            yield indices_B, on_device_u8

    def _end_epoch(self, epoch: int, lr: float) -> None:
        with self._on_stream():
            loss = float(self._step.loss_sum) / self.steps_per_epoch
            self._step.loss_sum.zero_()
            check_finite(self.network, self.images.input_shape, epoch, loss)
        self.position = Position(epoch + 1, 0, time.monotonic() - self._clock)
        peak = peak_memory_mib(self.device)
        self.records.append(EpochRecord(epoch, loss, lr, self.position.seconds, peak))

    def _order(self, epoch: int) -> Tensor:
        """This epoch's permutation of the images, the same on every device."""
        seeds = np.random.SeedSequence([self.recipe.seed, epoch])
        order_N = np.random.default_rng(seeds).permutation(len(self._step.labels_N))
        return torch.from_numpy(order_N).to(self.device)

    def _set_lr(self, lr: float) -> None:
        changed = any(group["lr"] != lr for group in self._optimizer.param_groups)
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        if changed and isinstance(self._run_step, CudaGraphStep):
            self._run_step.reset()

    def _build_step(self, images: ImageSet, shares_NK: Tensor | None) -> Step:
        device, recipe = self.device, self.recipe
        self._slices = _slices(len(images.labels), recipe.schedule.batch, recipe.method.chunks)
        self.network.train()
        memory_format = torch.channels_last if recipe.channels_last else torch.contiguous_format
        trained, classifier = self.network, None
        if isinstance(self.network, DenoisedClassifier):
            trained = self.network.denoiser
            classifier = InMemoryFormat(self.network.classifier, memory_format)
        network: nn.Module = InMemoryFormat(trained, memory_format)
        if recipe.compile:
            compile_blocks(network, device)
        if distributed.is_distributed():
            network = distributed.split_over_processes(network, self._optimizer)
        return Step(
            network=network,
            method=recipe.method,
            optimizer=self._optimizer,
            images_u8=images.images_u8.to(device) if isinstance(images.images_u8, Tensor) else None,
            labels_N=images.labels.to(device),
            augment=augmentation_for(recipe.dataset, images.input_shape[-1]),
            generator=torch.Generator(device).manual_seed(recipe.seed),
            progress=TrainingProgress(
                torch.zeros((), device=device), first_drop=float(recipe.schedule.first_drop)
            ),
            loss_sum=torch.zeros((), device=device),
            autocast=recipe.precision == "bfloat16",
            micro_batch=recipe.micro_batch,
            shares_NK=None if shares_NK is None else shares_NK.to(device),
            classifier=classifier,
        )

    def _on_stream(self) -> AbstractContextManager[Any]:
        return torch.cuda.stream(self._stream) if self._stream else nullcontext()


def check_finite(network: nn.Module, input_shape: Sequence[int], epoch: int, loss: float) -> None:
    """Raises InvalidRequest if weights, batch norm's statistics or logits are not finite after this epoch.

    network: in training mode, in which it is left. input_shape: (C, H, W).
    """
    finite = all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values())
    if not (finite and _has_finite_logits(network, input_shape)):
        raise InvalidRequest(
            f"the training has diverged: after epoch {epoch} (loss {loss:.4g}) the network's weights or "
            "answers are not finite. Try --precision float32, another seed, smaller weights of terms."
        )


def _has_finite_logits(network: nn.Module, input_shape: Sequence[int]) -> bool:
    """On the CPU only: on CUDA a compiled network would be compiled again for it."""
    if next(network.parameters()).device.type != "cpu":
        return True
    with torch.no_grad():
        logits = network.eval()(torch.full((1, *input_shape), GREY))
    network.train()
    return bool(logits.isfinite().all())


def _slices(images: int, batch: int, chunks: int) -> list[slice]:
    """The steps of an epoch, as published: each batch is cut into `chunks`, one optimizer step each.

    A single image left over joins the step before it, as batch norm has no statistics of one image.
    """
    slices: list[slice] = []
    for start in range(0, images, batch):
        stop = min(start + batch, images)
        chunk = -(-(stop - start) // chunks)
        slices += [slice(i, min(i + chunk, stop)) for i in range(start, stop, chunk)]
    if len(slices) > 1 and slices[-1].start == images - 1:
        slices[-2:] = [slice(slices[-2].start, images)]
    return slices


def _strip(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
