"""Milliseconds a training step, alone and several at once, on random images: what a lease can hold."""

import sys
import time

import torch

from training.datasets import ImageSet
from training.methods import build_method
from training.recipe import Recipe, Schedule, data_defaults
from training.trainer import Trainer

torch.backends.cudnn.benchmark = True
DEVICE = torch.device("cuda")


def random_images(channels: int, size: int, count: int = 50_176) -> ImageSet:
    pixels = torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8)
    return ImageSet(
        "random",
        "train",
        pixels,
        torch.randint(0, 10, (count,)),
        tuple("0123456789"),
        "",
        (channels, size, size),
    )


def trainer(
    dataset: str, images: ImageSet, method: str, compiled: bool, narrow: bool = False, **options
) -> Trainer:
    known = data_defaults(dataset)
    recipe = Recipe(
        method,
        build_method(method, dataset, 0.5, **options),
        dataset,
        known.architecture,
        Schedule(1000, known.schedule.lr, 1000),
        known.mean,
        known.std,
        compile=compiled,
        narrow_kernels=narrow,
    )
    return Trainer(recipe, images, DEVICE)


def measure(name: str, trainers: list[Trainer], warm: int, steps: int) -> None:
    began = time.perf_counter()
    runs = [t.steps() for t in trainers]
    for _ in range(warm):
        for run in runs:
            next(run)
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(steps):
        for run in runs:
            next(run)
    host = time.perf_counter() - start
    torch.cuda.synchronize()
    took = time.perf_counter() - start
    print(
        f"{name:40s} x{len(trainers)}: warm-up {start - began:6.1f} s, {1000 * took / steps / len(trainers):7.3f} ms a step"
        f" (host {1000 * host / steps / len(trainers):.3f}), {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB",
        flush=True,
    )


def attempt(name: str, build, warm: int, steps: int) -> None:
    try:
        measure(name, build(), warm, steps)
    except Exception as error:  # a candidate that fails is a finding, not the end
        print(f"{name}: {type(error).__name__}: {str(error)[-300:]}", flush=True)
    torch.cuda.empty_cache()


if __name__ == "__main__":
    digits, photos = random_images(1, 28), random_images(3, 32)
    only = sys.argv[1:]
    plans = {
        "lenet": lambda: [trainer("mnist", digits, "consistency", False)],
        "lenet6": lambda: [trainer("mnist", digits, "consistency", False) for _ in range(6)],
        "macer": lambda: [trainer("mnist", digits, "macer", False)],
        "smoothadv": lambda: [trainer("mnist", digits, "smoothadv", False)],
        "resnet": lambda: [trainer("cifar10", photos, "consistency", False)],
        "resnet3": lambda: [trainer("cifar10", photos, "consistency", False) for _ in range(3)],
        "compiled": lambda: [trainer("cifar10", photos, "consistency", True)],
        "compiled3": lambda: [trainer("cifar10", photos, "consistency", True) for _ in range(3)],
    }
    for name in only or plans:
        attempt(name, plans[name], 6, 30 if "resnet" in name or "compiled" in name else 300)
