"""What trains fastest on this machine, measured before a run: precision, memory format, compiled or not.

The answer becomes part of the recipe. Trials are trainers of their own: the run itself starts afresh after
them, from its seed, as if it had been given the answer. Of several processes all take the same steps, and
the first one's clock decides.
"""

import gc
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from training.compiled import has_blocks, has_compiler
from training.datasets import ImageSet
from training.distributed import agreed, is_shared
from training.quick import ConvPoolReLU, quickened
from training.recipe import Recipe
from training.trainer import Trainer, fresh_network

STEPS = 12  # of a trial, at most: on CUDA four go before the graph is replayed
SECONDS = 3.0  # after which a trial takes no further step
SURE_AFTER = 2  # steps of a CPU trial: the first one readies the libraries
HOPELESS = 2.0  # times the fastest trial's step: a trial ends there
GAIN = 1.1  # how much faster a trial must be than the one before it to be taken: noise is less
LONG = 3600.0  # seconds of a whole run; compiling takes a minute or two of them
CHANGES: tuple[Mapping[str, Any], ...] = (
    {"precision": "bfloat16"},
    {"channels_last": False},
    {"compile": True},
)


@dataclass(frozen=True)
class Trial:
    """One candidate. seconds: of its fastest step; infinite where it can't be run."""

    recipe: Recipe
    seconds: float

    def __str__(self) -> str:
        return f"{self.recipe.engine} {1e3 * self.seconds:.3g} ms"


@dataclass(frozen=True)
class Tuned:
    """best: the trial to train by. trials: all of them, in the order in which they were made."""

    best: Trial
    trials: Sequence[Trial]

    def __str__(self) -> str:
        others = ", ".join(str(trial) for trial in self.trials if trial is not self.best)
        return f"{self.best} a step" + (f" (measured too: {others})" if others else "")


def tune(recipe: Recipe, images: ImageSet, device: torch.device) -> Tuned:
    """Time a few steps of each candidate, from float32 on one change after the other.

    Raises InvalidRequest (the network is unknown, or not made for such images), RuntimeError (none can be
    run).
    """
    network = fresh_network(recipe, images)
    best, error = _trial(replace(recipe, precision="float32"), images, device, float("inf"))
    trials = [best]
    for change in CHANGES:
        candidate = replace(best.recipe, **change)
        if not _is_worth_trying(candidate, best, network, device, len(images)):
            continue
        trial, failed = _trial(candidate, images, device, HOPELESS * best.seconds)
        error = failed or error
        trials.append(trial)
        if trial.seconds * GAIN < best.seconds:
            best = trial
    if best.seconds == float("inf"):
        assert error is not None
        raise error
    return Tuned(best, [trial for trial in trials if trial.seconds < float("inf")])


def _is_worth_trying(
    recipe: Recipe, best: Trial, network: nn.Module, device: torch.device, images: int
) -> bool:
    """Whether the candidate can differ from the best one, and by enough for what the trial costs."""
    if recipe.compile:
        run = best.seconds * recipe.schedule.epochs * images / recipe.schedule.batch * recipe.method.chunks
        return run > LONG and has_compiler(device) and has_blocks(network)
    if not recipe.channels_last:
        return _has_convolutions_of_any_format(network, quick=recipe.quick and device.type == "cpu")
    return True


def _has_convolutions_of_any_format(network: nn.Module, *, quick: bool) -> bool:
    """Beside those that are quickened, which lay out their input themselves."""
    modules = list((quickened(network) if quick else network).modules())
    fixed = {id(module.convolution) for module in modules if isinstance(module, ConvPoolReLU)}
    return any(isinstance(module, nn.Conv2d) and id(module) not in fixed for module in modules)


def _trial(
    recipe: Recipe, images: ImageSet, device: torch.device, limit: float
) -> tuple[Trial, RuntimeError | None]:
    """Ends early where its steps take longer than `limit`, seconds. The error where it can't be run here."""
    try:
        return Trial(recipe, min(_times(recipe, images, device, limit))), None
    except RuntimeError as error:  # memory, or an operation that this precision lacks
        if is_shared():
            raise  # the others wait for this process' part of the step
        return Trial(recipe, float("inf")), error
    finally:
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _times(recipe: Recipe, images: ImageSet, device: torch.device, limit: float) -> list[float]:
    steps, times = Trainer(recipe, images, device).trial_steps(), list[float]()
    sure_after = STEPS if device.type == "cuda" else SURE_AFTER
    while not times or (
        len(times) < STEPS
        and sum(times[int(recipe.compile) :]) < SECONDS  # compiling isn't counted
        and (len(times) < sure_after or min(times) < limit)
    ):
        start = time.perf_counter()
        next(steps)
        times.append(agreed(time.perf_counter() - start, device))
    return times
