"""Peak memory of one engine above the loaded network: python benchmarks/memory.py lenet ENGINE"""

import argparse
import json
from pathlib import Path

import torch
from subjects import load

from smoothcert.engines.config import EngineConfig
from smoothcert.engines.engine import Engine
from smoothcert.votes import VoteRange

MEBIBYTE = 2**20


def resident(field: str) -> float:
    """VmRSS (now) or VmHWM (peak), MiB, from /proc."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network")
    parser.add_argument("setup", type=EngineConfig.parse)
    parser.add_argument("--checkpoint", type=Path)
    args = parser.parse_args()
    measured = load(args.network, args.checkpoint)
    loaded = resident("VmRSS")
    engine = Engine(measured.network, measured.spec.shape_CHW, measured.spec.num_classes, args.setup)
    sampler = engine.sampler(measured.image_CHW, measured.sigma, seed=1)
    peaks = {}
    few = max(measured.spec.n // 50, 4 * args.setup.batch)
    for votes in (few, 4 * few):
        sampler.count(VoteRange("estimation", 0, votes))
        peaks[str(votes)] = resident("VmHWM") - loaded
    device = torch.cuda.max_memory_allocated() / MEBIBYTE if args.setup.device == "cuda" else 0.0
    print(json.dumps({"loaded_mib": loaded, "peak_above_mib_by_votes": peaks, "device_peak_mib": device}))


if __name__ == "__main__":
    main()
