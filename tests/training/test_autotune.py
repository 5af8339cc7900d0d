"""Autotuning, and that the run after it equals a run with the same recipe given."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from smoothcert.engines.hardware import has_bfloat16
from smoothcert.errors import InvalidRequest
from tests.training.test_trainer import CPU, assert_same, images, recipe, weights
from training import autotune as autotuning
from training.autotune import MIN_CPU_STEPS, MIN_GAIN, autotune
from training.datasets.base import Schedule
from training.methods.gaussian import Gaussian
from training.recipe import Recipe
from training.trainer import Trainer

SLOW = 1.0  # seconds; any real step of these tests is shorter
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def short_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """One step more than the least, so that a trial that ends early is told from a whole one."""
    if not torch.cuda.is_available():
        monkeypatch.setattr(autotuning, "MAX_STEPS", MIN_CPU_STEPS + 1)


@dataclass(frozen=True)
class Watched(Gaussian):
    """Gaussian training that first calls `seen` with the state of autocast."""

    seen: Callable[[bool], None] = print

    def loss(self, *arguments: object) -> Tensor:
        self.seen(torch.is_autocast_enabled("cpu"))
        return super().loss(*arguments)  # type: ignore[arg-type]


def watched(seen: Callable[[bool], None]) -> Recipe:
    return replace(recipe("gaussian"), method=Watched(0.5, seen=seen))


def test_a_run_after_trials_equals_a_run_with_that_precision_given() -> None:
    torch.manual_seed(3)
    tuned = autotune(recipe(precision="float32"), images(), CPU)
    best = tuned.best.recipe  # whichever is fastest here, at this moment
    named = replace(
        recipe(), precision=best.precision, channels_last=best.channels_last, compile=best.compile
    )
    assert best == named
    trainers = [Trainer(wanted, images(), CPU) for wanted in (tuned.best.recipe, named)]
    autotune(named, images(), CPU)  # must not affect trainers that exist already
    for trainer in trainers:
        list(trainer.steps())
    assert_same(*map(weights, trainers))
    one, other = (trainer.state() for trainer in trainers)
    assert_same(one, other)


def test_each_change_is_tried_on_the_best_so_far_and_the_fastest_is_taken() -> None:
    tuned = autotune(recipe(), images(), CPU)
    precisions = [trial.recipe.precision for trial in tuned.trials]
    assert precisions[:2] == ["float32", "bfloat16"]
    assert [trial.recipe.channels_last for trial in tuned.trials] == [True, True, False]
    assert all(tuned.best.seconds <= MIN_GAIN * trial.seconds for trial in tuned.trials)
    assert str(tuned).startswith(tuned.best.recipe.execution)


@pytest.mark.skipif(has_bfloat16(), reason="this processor does multiply bfloat16")
def test_emulated_bfloat16_is_not_taken() -> None:
    big = replace(recipe(), schedule=Schedule(epochs=1, lr=0.01, lr_step=1, batch=256))
    assert autotune(big, images(), CPU).best.recipe.precision == "float32"


def test_other_networks_are_tried_contiguous_too_and_train_so() -> None:
    wanted = recipe("gaussian", "cifar10", epochs=1, architecture="resnet20")
    wanted = replace(wanted, schedule=replace(wanted.schedule, batch=8))
    small = images((3, 32, 32))
    small = replace(small, images_u8=small.images_u8[:16], labels=small.labels[:16])
    tuned = autotune(wanted, small, CPU)
    assert [trial.recipe.channels_last for trial in tuned.trials] == [True, True, False]
    trainer = Trainer(replace(wanted, channels_last=False), small, CPU)
    list(trainer.steps())
    assert trainer.network[1].stem.weight.is_contiguous()  # type: ignore[index,union-attr,operator]
    assert "channels_last" not in wanted.record()  # as in older states


@pytest.mark.parametrize("slow", [True, False], ids=["bfloat16", "float32"])
def test_a_candidate_far_slower_than_the_best_ends_after_two_steps(slow: bool) -> None:
    taken = {True: 0, False: 0}

    def seen(autocast: bool) -> None:
        taken[autocast] += 1
        time.sleep(SLOW if autocast == slow else 0)

    best = autotune(watched(seen), images(), CPU).best
    assert best.recipe.precision == ("float32" if slow else "bfloat16")
    assert not slow or taken[True] == MIN_CPU_STEPS


@pytest.mark.parametrize("broken", [True, False], ids=["bfloat16", "float32"])
def test_a_candidate_that_cannot_be_run_is_left_out(broken: bool) -> None:
    def seen(autocast: bool) -> None:
        if autocast == broken:
            raise RuntimeError("not enough memory")

    tuned = autotune(watched(seen), images(), CPU)
    assert {trial.recipe.precision for trial in tuned.trials} == {"float32" if broken else "bfloat16"}


def test_where_none_can_be_run_the_reason_is_raised() -> None:
    def seen(_: bool) -> None:
        raise RuntimeError("not enough memory")

    with pytest.raises(RuntimeError, match="not enough memory"):
        autotune(watched(seen), images(), CPU)
    with pytest.raises(InvalidRequest, match="lenet does not take 1x32x32 images"):
        autotune(recipe(), images((1, 32, 32)), CPU)


def test_a_compiled_run_says_that_its_compiler_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    wanted = recipe("gaussian", "cifar10", architecture="resnet20", compile=True)
    with pytest.raises(InvalidRequest, match=r"needs a C\+\+ compiler"):
        Trainer(wanted, images((3, 32, 32)), CPU)


@pytest.mark.gpu
def test_on_a_gpu_the_trials_leave_the_run_as_it_was() -> None:
    cuda = torch.device("cuda")
    undisturbed = Trainer(recipe(precision="float32"), images(), cuda)
    list(undisturbed.steps())
    tuned = autotune(recipe(), images(), cuda)
    assert {trial.recipe.precision for trial in tuned.trials} == {"float32", "bfloat16"}
    after = Trainer(recipe(precision="float32"), images(), cuda)
    list(after.steps())
    assert after.records[-1].loss == pytest.approx(undisturbed.records[-1].loss, rel=1e-3)
