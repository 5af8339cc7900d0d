"""Train the runs of a plan together on one GPU, in slices; each slice resumes the last one.

python benchmarks/gpu/train.py PLAN.json --data DIR --state DIR --out DIR --seconds 480

PLAN.json: [{"dataset", "method", "sigma", and, where they are not the usual ones, "architecture", "options",
"seed", "compile"}]. DIR of --data holds NAME.npz, or CIFAR-10 as pieces.py unpacks it.
Every run works on its own CUDA stream; their steps are launched in turn and overlap. A finished run is
written to OUT as a checkpoint folder; all leave their state.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from images import load_images

from training.datasets.base import dataset_defaults, published_schedule
from training.methods import build_method
from training.recipe import Recipe, run_name
from training.run import export_checkpoint, restore_state, save_state
from training.trainer import Trainer


def build_recipe(run: dict[str, Any], epochs: int | None) -> Recipe:
    options = run.get("options", {})
    method = build_method(run["method"], run["dataset"], run["sigma"], **options)
    known = dataset_defaults(run["dataset"])
    schedule = published_schedule(run["method"], run["dataset"])
    schedule = replace(schedule, epochs=epochs or schedule.epochs)
    return Recipe(
        run["method"],
        method,
        run["dataset"],
        run.get("architecture", known.architecture),
        schedule,
        known.mean,
        known.std,
        seed=run.get("seed", 0),
        compile=run.get("compile", False),
        method_options=options,
    )


def start(args: argparse.Namespace) -> dict[str, Trainer]:
    """The trainers of the plan, restored where they stopped."""
    plan = json.loads(args.plan.read_text())
    images = {
        dataset: load_images(dataset, "train", args.data) for dataset in {run["dataset"] for run in plan}
    }
    trainers = {}
    for run in plan:
        recipe = build_recipe(run, args.epochs)
        trainer = Trainer(recipe, images[recipe.dataset], torch.device(args.device))
        name = run_name(recipe) + (f"-seed{recipe.seed}" if recipe.seed else "")
        if (args.state / f"{name}.state").exists():
            restore_state(trainer, args.state / f"{name}.state")
        trainers[name] = trainer
    return trainers


def wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def advance(trainers: dict[str, Trainer], seconds: float) -> None:
    """Launch one step of each run in turn until all are done or the time is up."""
    deadline, running = time.monotonic() + seconds, {n: t.steps() for n, t in trainers.items() if not t.done}
    rounds = 0
    while running and time.monotonic() < deadline:
        for name in list(running):
            if next(running[name], None) is None:
                del running[name]
                print(f"{time.strftime('%X')} {name} done: {trainers[name].records[-1]}", flush=True)
        rounds += 1
        if rounds % 200 == 0:
            wait_for_device()  # the host must not run minutes ahead of the device
        if rounds % 4000 == 0:
            print(f"{time.strftime('%X')} {rounds} rounds, {len(running)} running", flush=True)
    wait_for_device()


def finish(trainers: dict[str, Trainer], state: Path, out: Path) -> None:
    state.mkdir(parents=True, exist_ok=True)
    for name, trainer in trainers.items():
        save_state(trainer, state / f"{name}.state")
        if trainer.done:
            export_checkpoint(trainer, out / name)
        print(
            f"{name}: epoch {trainer.position.epoch} of {trainer.recipe.schedule.epochs},"
            f" {trainer.position.seconds:.0f} s, {trainer.records[-1:]}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=480.0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--epochs", type=int, help="shorten every schedule, for a dry run")
    args = parser.parse_args()
    began = time.monotonic()
    torch.backends.cudnn.benchmark = True
    trainers = start(args)
    print(f"{len(trainers)} runs ready in {time.monotonic() - began:.1f} s", flush=True)
    advance(trainers, args.seconds - (time.monotonic() - began))
    finish(trainers, args.state, args.out)


if __name__ == "__main__":
    main()
