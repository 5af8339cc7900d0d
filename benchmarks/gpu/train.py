"""Train the runs of a plan together on one GPU, in slices that fit a lease; go on where the last slice ended.

python benchmarks/gpu/train.py PLAN.json --data DIR --state DIR --out DIR --seconds 480

PLAN.json: [{"dataset", "method", "sigma", "options", "seed", "compile"}]. DIR of --data holds NAME.npz or CIFAR-10
as pieces.py unpacks it. Every run works on its own CUDA stream; their steps are launched in turn and overlap.
A finished run is written to OUT as a checkpoint folder; an unfinished one leaves its state in --state.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pieces
import torch

from training.datasets import SOURCES, ImageSet
from training.export import export_checkpoint, run_name
from training.methods import build_method
from training.recipe import Recipe, data_defaults
from training.trainer import Trainer


def load_images(dataset: str, data: Path) -> ImageSet:
    if dataset == "cifar10":
        images, labels = pieces.load(data, "train")
    else:
        with np.load(data / f"{dataset}.npz") as arrays:
            images, labels = arrays["train_images"][:, None], arrays["train_labels"]
    source = SOURCES[dataset]
    return ImageSet(
        dataset,
        "train",
        torch.from_numpy(images),
        torch.from_numpy(labels.astype(np.int64)),
        source.class_names,
        source.licence,
        images.shape[1:],
    )


def build_recipe(run: dict[str, Any]) -> Recipe:
    options = run.get("options", {})
    method = build_method(run["method"], run["dataset"], run["sigma"], **options)
    known = data_defaults(run["dataset"])
    return Recipe(
        run["method"],
        method,
        run["dataset"],
        known.architecture,
        known.schedule,
        known.mean,
        known.std,
        seed=run.get("seed", 0),
        compile=run.get("compile", False),
        method_options=options,
    )


def start(plan: list[dict[str, Any]], data: Path, state: Path) -> dict[str, Trainer]:
    images = {dataset: load_images(dataset, data) for dataset in {run["dataset"] for run in plan}}
    trainers = {}
    for run in plan:
        recipe = build_recipe(run)
        trainer = Trainer(recipe, images[recipe.dataset], torch.device("cuda"))
        name = run_name(recipe) + (f"-seed{recipe.seed}" if recipe.seed else "")
        if (state / f"{name}.state").exists():
            trainer.restore(state / f"{name}.state")
        trainers[name] = trainer
    return trainers


def advance(trainers: dict[str, Trainer], seconds: float) -> None:
    """Launch one step of each run in turn until all are done or the time is over."""
    deadline, running = time.monotonic() + seconds, {n: t.steps() for n, t in trainers.items() if not t.done}
    rounds = 0
    while running and time.monotonic() < deadline:
        for name in list(running):
            if next(running[name], None) is None:
                del running[name]
                print(f"{time.strftime('%X')} {name} done: {trainers[name].records[-1]}", flush=True)
        rounds += 1
        if rounds % 200 == 0:
            torch.cuda.synchronize()  # the host must not run minutes ahead of the device
    torch.cuda.synchronize()


def finish(trainers: dict[str, Trainer], state: Path, out: Path) -> None:
    state.mkdir(parents=True, exist_ok=True)
    for name, trainer in trainers.items():
        trainer.save(state / f"{name}.state")
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
    args = parser.parse_args()
    began = time.monotonic()
    torch.backends.cudnn.benchmark = True
    trainers = start(json.loads(args.plan.read_text()), args.data, args.state)
    advance(trainers, args.seconds - (time.monotonic() - began))
    finish(trainers, args.state, args.out)


if __name__ == "__main__":
    main()
