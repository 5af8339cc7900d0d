"""training/conv3x3.py against cuDNN: right, and how fast, for each tiling; then a whole ResNet-110 step."""

import sys
import time

import torch
from torch.nn import functional

from training import conv3x3 as fast
from training.conv3x3 import Tiling
from training.datasets import ImageSet
from training.defaults import data_defaults
from training.methods import build_method
from training.recipe import Recipe
from training.trainer import Trainer

torch.backends.cudnn.benchmark = True
SIZES = {16: 32, 32: 16}
FORWARD = [Tiling(b, b, w) for b in (64, 128, 256, 512) for w in (2, 4, 8)]
GRADIENT = [Tiling(p, b, w) for p in (128, 256, 512) for b in (32, 64, 128) for w in (1, 2, 4, 8) if b <= p]


def microseconds(call, calls: int = 20) -> float:
    for _ in range(3):
        call()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            call()
    graph.replay()
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(3):
        graph.replay()
    stop.record()
    torch.cuda.synchronize()
    return 1000 * start.elapsed_time(stop) / 3 / calls


def best(table: dict[int, Tiling], channels: int, options: list[Tiling], call) -> str:
    times = {}
    for tiling in options:
        table[channels] = tiling
        try:
            times[tiling] = microseconds(call)
        except Exception as error:
            print(f"  {tiling}: {str(error)[-80:]}")
    ranked = sorted(times, key=times.get)
    table[channels] = ranked[0]
    return ", ".join(f"{t.pixels}/{t.block}/{t.warps} {times[t]:.1f}" for t in ranked[:4])


def compare(channels: int) -> None:
    torch.manual_seed(0)
    size = SIZES[channels]
    last = {"memory_format": torch.channels_last}
    x = torch.randn(256, channels, size, size, device="cuda").bfloat16().contiguous(**last)
    dy = torch.randn_like(x)
    w = (torch.randn(channels, channels, 3, 3, device="cuda") * 0.1).contiguous(**last)
    half = w.bfloat16()
    xf, wf = x.float().requires_grad_(), half.float().requires_grad_()
    y = functional.conv2d(xf, wf, padding=1)
    dx, dw = torch.autograd.grad(y, (xf, wf), dy.float())
    for name, ours, theirs in (
        ("forward", fast.conv3x3(x, w, False), y),
        ("input gradient", fast.conv3x3(dy, w, True), dx),
        ("weight gradient", fast.conv3x3_weight(x, dy), dw),
    ):
        print(
            f"{channels} {name}: relative error {((ours.float() - theirs).norm() / theirs.norm()).item():.1e}"
        )
    backward = lambda mask: torch.ops.aten.convolution_backward(  # noqa: E731
        dy, x, half, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, mask
    )
    print(
        f"  cuDNN: {microseconds(lambda: functional.conv2d(x, half, padding=1)):.1f},"
        f" {microseconds(lambda: backward([True, False, False])):.1f},"
        f" {microseconds(lambda: backward([False, True, False])):.1f} us",
        flush=True,
    )
    print("  forward:", best(fast.FORWARD, channels, FORWARD, lambda: fast.conv3x3(x, w, False)), flush=True)
    print(
        "  gradient:", best(fast.GRADIENT, channels, GRADIENT, lambda: fast.conv3x3_weight(x, dy)), flush=True
    )


def photos(count: int = 50_176) -> ImageSet:
    pixels = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)
    return ImageSet(
        "random", "train", pixels, torch.randint(0, 10, (count,)), tuple("0123456789"), "", (3, 32, 32)
    )


def trainer(images: ImageSet, *, narrow: bool) -> Trainer:
    known = data_defaults("cifar10")
    recipe = Recipe(
        "consistency",
        build_method("consistency", "cifar10", 0.5),
        "cifar10",
        known.architecture,
        known.schedule,
        known.mean,
        known.std,
        compile=True,
        narrow_kernels=narrow,
    )
    return Trainer(recipe, images, torch.device("cuda"))


def whole_steps(count: int, *, narrow: bool) -> None:
    images = photos()
    runs = [trainer(images, narrow=narrow) for _ in range(count)]
    iterators = [run.steps() for run in runs]
    for _ in range(5):
        for it in iterators:
            next(it)
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(20):
        for it in iterators:
            next(it)
    torch.cuda.synchronize()
    print(
        f"ResNet-110 x{count}: {1000 * (time.perf_counter() - start) / 20 / count:.2f} ms a step", flush=True
    )


if __name__ == "__main__":
    for count in map(int, sys.argv[1:]):
        whole_steps(count, narrow=False)
        whole_steps(count, narrow=True)
    for channels in SIZES if len(sys.argv) == 1 else ():
        compare(channels)
