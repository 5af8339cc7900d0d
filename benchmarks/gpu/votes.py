"""Votes per second of CUDA set-ups, random weights: python benchmarks/gpu/votes.py lenet resnet110"""

import sys
import time

import numpy as np
import torch

from certification.architectures import build_network
from certification.engine import Engine
from certification.setup import Setup
from certification.votes import VoteRange

SHAPES = {"lenet": (1, 28, 28), "resnet20": (3, 32, 32), "resnet110": (3, 32, 32), "resnet50": (3, 224, 224)}
BATCHES = {"lenet": (2048, 8192), "resnet110": (1024, 4096), "resnet20": (4096,), "resnet50": (256,)}


def measure(name: str, setup: Setup) -> None:
    shape = SHAPES[name]
    torch.manual_seed(0)
    network = build_network(name, 10, [0.5] * shape[0], [0.25] * shape[0]).eval()
    began = time.perf_counter()
    engine = Engine(network, shape, 10, setup)
    sampler = engine.sampler(np.full(shape, 100, np.uint8), 0.5, seed=1)
    sampler.count(VoteRange("estimation", 0, 4 * setup.batch))
    built, votes = time.perf_counter() - began, setup.batch * 8
    start = time.perf_counter()
    counts = sampler.count(VoteRange("estimation", 0, votes))
    took = time.perf_counter() - start
    print(
        f"{name:10s} {setup!s:60s} {votes / took:12,.0f} votes/s  built in {built:.1f} s  {counts.tolist()}",
        flush=True,
    )


if __name__ == "__main__":
    for name in sys.argv[1:]:
        for backend in ("eager", "cuda-graph", "compile-cuda-graph"):
            for batch in BATCHES[name]:
                for precision in ("bfloat16", "float16"):
                    if precision == "float16" and backend != "cuda-graph":
                        continue
                    try:
                        measure(name, Setup("cuda", backend, precision, batch))
                    except Exception as error:
                        print(
                            f"{name} {backend} {batch} {precision}: {type(error).__name__}: {str(error)[-200:]}"
                        )
