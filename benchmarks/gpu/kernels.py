"""Where a ResNet-110 training step's time goes on the GPU: python benchmarks/gpu/kernels.py eager blocks whole"""

import sys
import time

import torch
from smoke import random_images, trainer
from torch import nn
from torch.profiler import ProfilerActivity, profile

from training.trainer import Trainer

torch.backends.cudnn.benchmark = True
torch._dynamo.config.cache_size_limit = 64


def build(name: str) -> Trainer:
    run = trainer("cifar10", random_images(3, 32), "consistency", "blocks" in name)
    if "whole" in name:
        run._step.network.network.compile(dynamic=False)
    if "half" in name:
        for module in run.network.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.data = module.weight.data.bfloat16()
    return run


def report(run: Trainer) -> None:
    indices = torch.arange(128, device="cuda")
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for _ in range(2):
            run._step(indices)
        torch.cuda.synchronize()
    rows = sorted(profiler.key_averages(), key=lambda r: -r.device_time_total)
    total = sum(r.device_time_total for r in rows)
    print(f"kernels: {total / 2000:.2f} ms a step, {sum(r.count for r in rows) / 2:.0f} of them")
    for r in rows[:26]:
        print(
            f"{r.device_time_total / 2000:8.3f} ms {r.count / 2:6.0f} x {r.device_time_total / r.count:7.1f} us  {r.key[:100]}"
        )


def replay(runs: list[Trainer], steps: int = 25) -> float:
    iterators = [run.steps() for run in runs]
    for _ in range(5):
        for it in iterators:
            next(it)
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(steps):
        for it in iterators:
            next(it)
    torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - start) / steps / len(runs)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        try:
            began = time.perf_counter()
            run = build(name)
            one = replay([run])
            print(f"== {name}: {one:.2f} ms a step, {time.perf_counter() - began:.1f} s in all", flush=True)
            report(run)
            if "whole" not in name:
                print(
                    f"== {name} x4: {replay([run, *(build(name) for _ in range(3))]):.2f} ms a step",
                    flush=True,
                )
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {str(error)[-300:]}", flush=True)
