"""The training loop: one recipe, one device, step by step, able to go on after any kill."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from smoothcert.errors import InvalidRequest
from smoothcert.models.architectures import build_network
from training import distributed
from training.compiled import compile_blocks
from training.datasets import ImageSet
from training.defaults import augmentation_for
from training.divergence import need_convergence
from training.memory import forget_peak, peak_memory_mib
from training.methods.base import TrainingProgress
from training.quick import quickened
from training.recipe import Recipe
from training.state import Position, load_state, save_state
from training.step import GraphedStep, LaidOut, Step

GLOBAL = "global_generator"  # the CPU's default generator in a saved state


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch was like. loss: mean over its steps; seconds: since the run began.

    peak_memory_mib: the most that this process has held since the run began or went on, on its GPU or,
    without one, in memory.
    """

    epoch: int
    loss: float
    lr: float
    seconds: float
    peak_memory_mib: int = 0


class Trainer:
    """One training run. `steps()` trains; between two of its steps the state can be saved and restored.

    Several trainers can share a GPU: each works on its own stream, so advancing their `steps()` in turn
    overlaps them.
    """

    def __init__(self, recipe: Recipe, images: ImageSet, device: torch.device) -> None:
        """Raises InvalidRequest: the architecture is unknown, or not made for such images."""
        self.recipe = recipe
        self.images = images
        self.position = Position()
        self.records: list[EpochRecord] = []
        self.device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        forget_peak(device)
        with self._on_stream():
            torch.manual_seed(recipe.seed)  # of the global generator: fresh weights, and any dropout
            self.network = fresh_network(recipe, images).to(device)
            self._optimizer = _optimizer(self.network, recipe)
            self._step = self._build_step(images)
        self._run_step: GraphedStep | Step = (
            GraphedStep(self._step, self._stream)
            if self._stream and self._step.images_u8 is not None and not distributed.is_shared()
            else self._step
        )

    @property
    def steps_per_epoch(self) -> int:
        return len(self._slices)

    @property
    def peak_memory_mib(self) -> int:
        """Of the whole run, also of its parts before a kill."""
        return max([peak_memory_mib(self.device), *(record.peak_memory_mib for record in self.records)])

    @property
    def _quick(self) -> bool:
        return self.recipe.quick and self.device.type == "cpu"

    @property
    def done(self) -> bool:
        return self.position.epoch >= self.recipe.schedule.epochs

    def steps(self) -> Iterator[Position]:
        """Train to the end of the schedule; yields after every step (the device may still be at work).

        Raises InvalidRequest: at the end of an epoch it has diverged.
        """
        while not self.done:
            yield from self._epoch()

    def trial_steps(self) -> Iterator[None]:
        """The run's first step, taken again and again, to time it: each has ended when it is yielded.

        Afterwards the weights, the generators and the optimizer are of no more use.
        """
        with self._on_stream():
            batch_B = self._order(0)[self._slices[0]]
        ((indices_B, images_u8),) = self._fed([batch_B])
        while True:
            with self._on_stream():
                self._run_step(indices_B, images_u8)
            if self._stream:
                self._stream.synchronize()
            yield

    def save(self, path: Path) -> None:
        """Write the state; only between two steps."""
        with self._on_stream():
            save_state(path, self._tensors(), self.position, self.recipe.record(), self.images.digest)

    def start_from(self, weights: dict[str, Tensor]) -> None:
        """Begin with these weights, under the network's own names, in place of fresh ones."""
        with self._on_stream():
            self.network.load_state_dict(weights)

    def restore(self, path: Path) -> None:
        """Go on from a state that `save` wrote.

        Raises InvalidRequest (other recipe or data), BadCheckpoint.
        """
        tensors, self.position = load_state(path, self.recipe.record(), self.images.digest)
        with self._on_stream():
            self.network.load_state_dict(_strip(tensors, "network."))
            for name, parameter in self.network.named_parameters():
                # Laid out like the parameter: the fused update walks both in memory order.
                momentum = torch.empty_like(parameter, requires_grad=False)
                self._optimizer.state[parameter]["momentum_buffer"] = momentum.copy_(
                    tensors[f"momentum.{name}"]
                )
            self._step.generator.set_state(tensors["generator"])
            if GLOBAL in tensors:  # states of before have none; only networks with dropout use it
                torch.set_rng_state(tensors[GLOBAL])
            self._step.loss_sum.copy_(tensors["loss_sum"])

    def _epoch(self) -> Iterator[Position]:
        schedule, epoch = self.recipe.schedule, self.position.epoch
        self._set_lr(schedule.lr_at(epoch))
        self._clock = time.monotonic() - self.position.seconds
        with self._on_stream():
            order_N = self._order(epoch)
        batches = [order_N[piece] for piece in self._slices[self.position.step :]]
        for index, (indices_B, images_u8) in enumerate(self._fed(batches), self.position.step):
            with self._on_stream():
                self._step.moment.epoch.fill_(epoch + index / self.steps_per_epoch)
                self._run_step(indices_B, images_u8)
            self.position = Position(epoch, index + 1, time.monotonic() - self._clock)
            yield self.position
        self._close_epoch(epoch, schedule.lr_at(epoch))

    def _fed(self, batches: list[Tensor]) -> Iterator[tuple[Tensor, Any]]:
        """Each batch of indices, with its images where the step doesn't hold them."""
        pixels = self.images.images_u8
        if isinstance(pixels, Tensor):
            yield from ((indices_B, None) for indices_B in batches)
            return
        for indices_B, images_u8 in zip(batches, pixels.batches(batches), strict=True):
            with self._on_stream():
                there_u8 = images_u8.to(self.device)
            yield indices_B, there_u8

    def _close_epoch(self, epoch: int, lr: float) -> None:
        with self._on_stream():
            loss = float(self._step.loss_sum) / self.steps_per_epoch
            self._step.loss_sum.zero_()
            need_convergence(self.network, self.images.input_shape, epoch, loss)
        self.position = Position(epoch + 1, 0, time.monotonic() - self._clock)
        peak = peak_memory_mib(self.device)
        self.records.append(EpochRecord(epoch, loss, lr, self.position.seconds, peak))

    def _order(self, epoch: int) -> Tensor:
        """This epoch's order of the images, the same on every device."""
        seeds = np.random.SeedSequence([self.recipe.seed, epoch])
        order_N = np.random.default_rng(seeds).permutation(len(self._step.labels_N))
        return torch.from_numpy(order_N).to(self.device)

    def _set_lr(self, lr: float) -> None:
        changed = any(group["lr"] != lr for group in self._optimizer.param_groups)
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        if changed and isinstance(self._run_step, GraphedStep):
            self._run_step.forget()

    def _build_step(self, images: ImageSet) -> Step:
        device, recipe = self.device, self.recipe
        self._slices = _slices(len(images.labels), recipe.schedule.batch, recipe.method.chunks)
        self.network.train()
        memory_format = torch.channels_last if recipe.channels_last else torch.contiguous_format
        network = LaidOut(quickened(self.network) if self._quick else self.network, memory_format)
        if recipe.compile:
            compile_blocks(network, device)
        if recipe.narrow_kernels:
            # Triton, which it needs, comes with CUDA only.
            from training.conv3x3 import use_narrow_convolutions  # noqa: PLC0415

            use_narrow_convolutions(network)
        return Step(
            network=distributed.share(network, self._optimizer) if distributed.is_shared() else network,
            method=recipe.method,
            optimizer=self._optimizer,
            images_u8=images.images_u8.to(device) if isinstance(images.images_u8, Tensor) else None,
            labels_N=images.labels.to(device),
            augment=augmentation_for(recipe.dataset, images.input_shape[-1]),
            generator=torch.Generator(device).manual_seed(recipe.seed),
            moment=TrainingProgress(torch.zeros((), device=device), float(recipe.schedule.first_drop)),
            loss_sum=torch.zeros((), device=device),
            autocast=recipe.precision == "bfloat16",
            micro_batch=recipe.micro_batch,
        )

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        for name, parameter in self.network.named_parameters():
            buffer = self._optimizer.state[parameter].get("momentum_buffer")
            tensors[f"momentum.{name}"] = torch.zeros_like(parameter) if buffer is None else buffer
        generators = {"generator": self._step.generator.get_state(), GLOBAL: torch.get_rng_state()}
        return tensors | generators | {"loss_sum": self._step.loss_sum}

    def _on_stream(self) -> AbstractContextManager[Any]:
        return torch.cuda.stream(self._stream) if self._stream else nullcontext()


def fresh_network(recipe: Recipe, images: ImageSet) -> nn.Module:
    """Raises InvalidRequest where it isn't made for images of that size: before training, not in its
    middle.
    """
    network = build_network(recipe.architecture, len(images.class_names), recipe.mean, recipe.std)
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, *images.input_shape))
    except (RuntimeError, AssertionError) as error:
        shape = "x".join(map(str, images.input_shape))
        raise InvalidRequest(f"{recipe.architecture} does not take {shape} images: {error}") from error
    return network


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    schedule = recipe.schedule
    return torch.optim.SGD(
        network.parameters(),
        lr=schedule.lr_at(0),
        momentum=schedule.momentum,
        weight_decay=schedule.weight_decay,
        fused=True,
    )


def _slices(images: int, batch: int, chunks: int) -> list[slice]:
    """The published steps: each batch of `batch` images is cut into `chunks`, each an optimizer step.

    One image left over joins the step before it: batch norm has no statistics of one.
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
