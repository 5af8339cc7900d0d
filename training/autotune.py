"""Measures before a run what trains fastest here: precision, memory format, compiled blocks or not.

The result becomes part of the recipe. Trials use trainers of their own; the run itself then starts from its
seed. With several processes all take the same steps, and the main process's clock decides.
"""

import gc
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from training.datasets.image_set import ImageSet
from training.distributed import from_main_process, is_distributed
from training.recipe import Recipe, fresh_network
from training.step import has_compiler, has_residual_blocks
from training.trainer import Trainer

MAX_STEPS = 12  # of a trial; on CUDA the first four precede the replayed graph
MAX_SECONDS = 3.0  # of a trial
MIN_CPU_STEPS = 2  # of a trial on the CPU; the first initialises libraries
GIVE_UP = 2.0  # a trial ends once its steps take this many times the fastest trial's
MIN_GAIN = 1.1  # speed-up over the best trial that a candidate needs: more than the noise of a measurement
LONG_RUN = 3600.0  # seconds; compiling takes a minute or two, so only longer runs try it
CHANGES: tuple[Mapping[str, Any], ...] = (
    {"precision": "bfloat16"},
    {"channels_last": False},
    {"compile": True},
)


@dataclass(frozen=True)
class Trial:
    """One candidate. seconds: of its fastest step; infinite if it cannot run."""

    recipe: Recipe
    seconds: float

    def __str__(self) -> str:
        return f"{self.recipe.execution} {1e3 * self.seconds:.3g} ms"


@dataclass(frozen=True)
class AutotuneResult:
    """The best trial, and all of them in the order of measurement."""

    best: Trial
    trials: Sequence[Trial]

    def __str__(self) -> str:
        others = ", ".join(str(trial) for trial in self.trials if trial is not self.best)
        return f"{self.best} a step" + (f" (measured too: {others})" if others else "")


def autotune(
    recipe: Recipe, images: ImageSet, device: torch.device, classifier: nn.Module | None = None
) -> AutotuneResult:
    """Time a few steps of float32, then of one change after the other to the best so far.

    Raises InvalidRequest (unknown network, or one that does not fit the images), RuntimeError (no candidate
    runs).
    """
    network = fresh_network(recipe, images, classifier)
    best, error = _trial(replace(recipe, precision="float32"), images, device, float("inf"), classifier)
    trials = [best]
    for change in CHANGES:
        candidate = replace(best.recipe, **change)
        if not _is_worth_trying(candidate, best, network, device, len(images)):
            continue
        trial, failure = _trial(candidate, images, device, GIVE_UP * best.seconds, classifier)
        error = failure or error
        trials.append(trial)
        if trial.seconds * MIN_GAIN < best.seconds:
            best = trial
    if best.seconds == float("inf"):
        assert error is not None
        raise error
    return AutotuneResult(best, [trial for trial in trials if trial.seconds < float("inf")])


def _is_worth_trying(
    recipe: Recipe, best: Trial, network: nn.Module, device: torch.device, images: int
) -> bool:
    """Whether the candidate can differ from the best one, by enough for the cost of the trial."""
    if recipe.compile:
        run = best.seconds * recipe.schedule.epochs * images / recipe.schedule.batch * recipe.method.chunks
        return run > LONG_RUN and has_compiler(device) and has_residual_blocks(network)
    if not recipe.channels_last:
        return any(isinstance(module, nn.Conv2d) for module in network.modules())
    return True


def _trial(
    recipe: Recipe,
    images: ImageSet,
    device: torch.device,
    limit: float,
    classifier: nn.Module | None,
) -> tuple[Trial, RuntimeError | None]:
    """The trial, and the error if it cannot run here. It ends early if its steps exceed `limit` seconds."""
    try:
        trainer = Trainer(recipe, images, device, classifier=classifier)
        return Trial(recipe, min(_step_seconds(trainer, limit))), None
    except RuntimeError as error:  # out of memory, or an operation that lacks this precision
        if is_distributed():
            raise  # the other processes wait for this one's part of the step
        return Trial(recipe, float("inf")), error
    finally:
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _step_seconds(trainer: Trainer, limit: float) -> list[float]:
    recipe, device = trainer.recipe, trainer.device
    steps, seconds = trainer.trial_steps(), list[float]()
    min_steps = MAX_STEPS if device.type == "cuda" else MIN_CPU_STEPS
    while not seconds or (
        len(seconds) < MAX_STEPS
        and sum(seconds[int(recipe.compile) :]) < MAX_SECONDS  # without the step that compiles
        and (len(seconds) < min_steps or min(seconds) < limit)
    ):
        start = time.perf_counter()
        next(steps)
        seconds.append(from_main_process(time.perf_counter() - start, device))
    return seconds
