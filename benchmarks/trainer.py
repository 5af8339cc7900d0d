"""Our trainer against a plain training loop: time per epoch, and the accuracy that both reach.

    python benchmarks/trainer.py lenet --data-root data --seconds 60
    python benchmarks/trainer.py resnet20 --data-root data --seconds 90 --learn-images 5000 --learn-epochs 2

Consistency at sigma = 0.5 by the published recipe; ours in the precision that `smoothcert train` would
measure and take, unless --precision names it. First speed: the two take turns. Then both train for a few
epochs from fresh weights (ours from two seeds, which shows what a seed moves), and are certified on the same
test images.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar, get_args

import torch
from plain_training import PlainTraining, dataset_of
from torch import nn

from smoothcert.cli.train import MEASURED, PrecisionOption, use_passive_waiting
from smoothcert.engines.autotune import default_config
from smoothcert.engines.engine import Engine
from smoothcert.engines.hardware import cpu_model, usable_cpus
from smoothcert.models.architectures import build_network
from smoothcert.schemas.evaluation_log import Log
from smoothcert.schemas.evaluation_run import EvaluationRun
from training.autotune import autotune
from training.datasets import load_dataset
from training.datasets.image_set import ImageSet
from training.evaluation import evaluate, selected_indices
from training.recipe import Recipe, build_recipe
from training.step import keep_freed_memory
from training.summary import summarize
from training.trainer import Trainer

CPU = torch.device("cpu")
DATASETS = {"lenet": "mnist", "resnet20": "cifar10"}
SIGMA = 0.5
ROUNDS = 4
WARM_UP = 10  # steps of each turn that don't count: the loader's processes fill their queues
CERTIFIED, VOTES = 200, 1000  # test images, votes each

T = TypeVar("T")


@dataclass(frozen=True)
class Subject:
    """One recipe and its data."""

    recipe: Recipe
    images: ImageSet
    root: str

    @property
    def steps(self) -> int:
        return Trainer(self.recipe, self.images, CPU).steps_per_epoch

    def network(self) -> nn.Module:
        recipe = self.recipe
        return build_network(recipe.architecture, len(self.images.class_names), recipe.mean, recipe.std)

    def plain(self, images: int | None = None) -> PlainTraining:
        dataset = dataset_of(self.recipe.dataset, self.root, images)
        return PlainTraining(self.recipe, self.network(), dataset)


def prepare(args: argparse.Namespace) -> Subject:
    """The recipe and data, with as many threads as processors."""
    torch.set_num_threads(usable_cpus())
    dataset = DATASETS[args.network]
    images = load_dataset(dataset, "train", args.data_root, download=False)
    channels = images.input_shape[0]
    recipe = build_recipe("consistency", dataset, SIGMA, options={}, channels=channels, arch=args.network)
    return Subject(replace(recipe, **args.chosen), images, str(args.data_root))


def autotuned_fields(args: argparse.Namespace) -> dict[str, object]:
    """The autotuned fields of the recipe, measured as `smoothcert train` does."""
    keep_freed_memory()
    if args.precision != "auto":
        return {"precision": args.precision}
    subject = prepare(args)
    tuned = autotune(subject.recipe, subject.images, CPU)
    print(f"{tuned}\n", flush=True)
    return {name: getattr(tuned.best.recipe, name) for name in MEASURED}


def turn(steps: Iterator[object], seconds: float) -> float:
    """Seconds per step, measured for about `seconds`."""
    for _ in range(WARM_UP):
        next(steps)
    start, done = time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < seconds or done < 3:
        next(steps)
        done += 1
    return spent / done


def our_steps(trainer: Trainer) -> Iterator[object]:
    for _ in cycle([None]):
        trainer.position = replace(trainer.position, epoch=0, step=0)
        yield from trainer.steps()


def plain_turn(args: argparse.Namespace, seconds: float) -> float:
    steps = prepare(args).plain().epoch()
    spent = turn(steps, seconds)
    steps.close()  # its processes end with it, and leave the machine to the other
    return spent


def our_turn(args: argparse.Namespace, seconds: float) -> float:
    keep_freed_memory()  # as `smoothcert train` does
    subject = prepare(args)
    return turn(our_steps(Trainer(subject.recipe, subject.images, CPU)), seconds)


def race(args: argparse.Namespace) -> tuple[list[float], list[float]]:
    """Seconds per step of both loops, measured alternately, each turn in a new process."""
    share = args.seconds / ROUNDS / 2
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for times, side in zip(found, (plain_turn, our_turn), strict=True):
            times.append(in_new_process(side, args, share, asleep=side is our_turn))
    return found


def in_new_process(side: Callable[..., T], *arguments: object, asleep: bool) -> T:
    """Run in a new process. asleep: its threads wait as those of `smoothcert train` do."""
    before = os.environ.copy()
    if asleep:
        use_passive_waiting()
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            return process.submit(side, *arguments).result()
    finally:
        os.environ.clear()
        os.environ.update(before)


def learn(subject: Subject, epochs: int, images: int | None) -> dict[str, nn.Module]:
    """Networks of both loops after `epochs` on the first `images` images; ours from two seeds."""
    few = subject.images
    if images is not None:
        few = replace(few, images_u8=few.images_u8[:images], labels=few.labels[:images])
    torch.manual_seed(0)
    plain = subject.plain(images)
    for epoch in range(epochs):
        for _ in plain.epoch(epoch):
            pass
    networks = {"plain loop": plain.network}
    for seed in (0, 1):
        schedule = replace(subject.recipe.schedule, epochs=epochs)
        trainer = Trainer(replace(subject.recipe, seed=seed, schedule=schedule), few, CPU)
        for _ in trainer.steps():
            pass
        networks[f"ours, seed {seed}"] = trainer.network
    return networks


def certified(network: nn.Module, test: ImageSet, recipe: Recipe) -> str:
    """Accuracy and ACR over the same images, as two cells of a table."""
    setup = default_config(test.input_shape, "cpu")
    engine = Engine(network.eval(), test.input_shape, len(test.class_names), setup)
    run = EvaluationRun(
        model="benchmark", weights_sha256="0" * 64, dataset=test.name, split="test", split_images=len(test),
        every=len(test) // CERTIFIED, procedure="certify", n0=100, n=VOTES, alpha=0.001,
        sigma=recipe.method.sigma, seed=1, setup=str(setup),
    )  # fmt: skip
    steps = evaluate(engine, test, run, selected_indices(len(test), run.every, None))
    rows = tuple(step.row for step in steps if step.row)
    accuracy = sum(row.right for row in rows) / len(rows)
    summary = summarize(Log("benchmark", rows), (0.0,))
    return f"{100 * accuracy:.1f} % | {summary.acr:.4f}"


def report_speed(subject: Subject, found: tuple[list[float], list[float]]) -> None:
    plain, ours = (statistics.median(seconds) for seconds in found)
    print(f"| {subject.recipe.architecture}, {subject.recipe.execution} | ms a step | s an epoch | |")
    print("|---|---:|---:|---:|")
    print(f"| plain loop | {1e3 * plain:.1f} | {plain * subject.steps:.1f} | |")
    print(f"| ours | {1e3 * ours:.1f} | {ours * subject.steps:.1f} | **{plain / ours:.1f}×** |\n", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", choices=sorted(DATASETS))
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--seconds", type=float, default=60, help="of measuring speed")
    parser.add_argument("--precision", choices=get_args(PrecisionOption), default="auto")
    parser.add_argument("--learn-epochs", type=int, default=3, help="0 leaves out what they learn")
    parser.add_argument("--learn-images", type=int, help="of the training set; else all")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    args.chosen = {}
    print(f"{cpu_model()}, {usable_cpus()} cores, PyTorch {torch.__version__}\n", flush=True)
    args.chosen = in_new_process(autotuned_fields, args, asleep=True)
    subject = prepare(args)
    report_speed(subject, race(args))
    if not args.learn_epochs:
        return
    test = load_dataset(subject.images.name, "test", args.data_root, download=False)
    images = args.learn_images or len(subject.images)
    print(f"| {args.learn_epochs} epochs of {images} images | accuracy, certified | ACR |")
    print("|---|---:|---:|")
    for name, network in learn(subject, args.learn_epochs, args.learn_images).items():
        print(f"| {name} | {certified(network, test, subject.recipe)} |", flush=True)


if __name__ == "__main__":
    main()
