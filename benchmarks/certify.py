"""The engine against the plain loop, interleaved in one run.

    python benchmarks/certify.py --networks lenet,resnet110 --random --seconds 120 --out results.json

For each network it measures every candidate engine (with --compile torch.compile too) and the plain loop at
batch 1000 and other sizes. Then the fastest engine, the loop at 1000 and the loop at its best size take
turns. Peak memory is measured in a separate process (benchmarks/memory.py).
"""

import argparse
import copy
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from plain_loop import PlainLoop
from subjects import SPECS, Measured, load
from torch import Tensor, nn

from smoothcert.engines.autotune import Subject, Tuning, available_device, measure, tune
from smoothcert.engines.config import DeviceKind, EngineConfig
from smoothcert.engines.engine import Engine
from smoothcert.engines.hardware import device_name, peak_matmul_rate, platform_versions, usable_cpus
from smoothcert.votes import VoteRange

N0 = 100
ROUNDS = 5
SCREENING_SECONDS = 1.0  # of the plain loop at each batch size
Turn = Callable[[int], object]  # draws that many votes


class NoNetwork(nn.Module):
    """Almost no work, to measure noise, conversion and counting alone."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return images_BCHW.flatten(1)[:, : self.num_classes]


def screen(measured: Measured, device: DeviceKind, args: argparse.Namespace, seconds: float) -> Tuning:
    """All candidates, or those named."""
    if args.setups:
        setups = [EngineConfig.parse(text) for text in args.setups.split(",")]
        return Tuning(tuple(measure(measured.subject, setup, seconds) for setup in setups))
    return tune(measured.subject, device, seconds=seconds, compile_too=args.compile)


def timed(turn: Turn, votes: int) -> float:
    start = time.perf_counter()
    turn(votes)
    return time.perf_counter() - start


def plain(measured: Measured, batch: int, device: DeviceKind) -> Turn:
    loop = PlainLoop(copy.deepcopy(measured.network), measured.image_CHW, measured.sigma, batch, device)
    return lambda votes: loop.count(votes, measured.spec.num_classes)


def engine(measured: Measured, setup: EngineConfig) -> Turn:
    built = Engine(measured.network, measured.spec.shape_CHW, measured.spec.num_classes, setup)
    return lambda votes: built.sampler(measured.image_CHW, measured.sigma, time.time_ns()).count(
        VoteRange("estimation", 0, votes)
    )


def search_plain(measured: Measured, device: DeviceKind) -> dict[int, float]:
    """Votes per second of the plain loop at each batch size that fits into memory, after warming up."""
    found = {}
    for batch in (1000, *measured.spec.batches[device]):
        if measured.spec.shape_CHW[-1] > 100 and batch == 1000 and device == "cpu":
            continue  # 12 GB of activations
        try:
            turn = plain(measured, batch, device)
            turn(batch)
            votes = batch * max(1, round(SCREENING_SECONDS / timed(turn, batch)))
            found[batch] = votes / timed(turn, votes)
        except torch.OutOfMemoryError:
            continue
    return found


def interleave(turns: dict[str, Turn], rates: dict[str, float], seconds: float) -> dict[str, float]:
    """Median votes per second of each contender over ROUNDS turns of equal length."""
    share = seconds / ROUNDS / len(turns)
    rounds: dict[str, list[float]] = {name: [] for name in turns}
    for turn in turns.values():
        turn(1)
    for _ in range(ROUNDS):
        for name, turn in turns.items():
            votes = max(1, int(rates[name] * share))
            rounds[name].append(votes / timed(turn, votes))
    return {name: statistics.median(values) for name, values in rounds.items()}


def overhead(measured: Measured, setup: EngineConfig, rate: float) -> dict[str, Any]:
    """The cost of a vote without its network, as a share of the whole."""
    spec = measured.spec
    nothing = Subject(NoNetwork(spec.num_classes), spec.shape_CHW, spec.num_classes, "none")
    plain_setup = replace(setup, precision="float32") if setup.precision == "int8" else setup
    alone = measure(nothing, plain_setup, 1.0)
    per_second = alone.votes_per_second
    pixels = int(np.prod(spec.shape_CHW))
    return {
        "votes_per_second_without_network": per_second,
        "draws_per_second": per_second and per_second * pixels,
        "share": per_second and rate / per_second,
        "error": alone.error,
    }


def peak_memory(name: str, setup: EngineConfig, args: argparse.Namespace) -> dict[str, Any]:
    """The output of benchmarks/memory.py, or its error."""
    command = [sys.executable, str(Path(__file__).with_name("memory.py")), name, str(setup)]
    if args.checkpoint:
        command += ["--checkpoint", str(args.checkpoint)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
        answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (subprocess.SubprocessError, ValueError, IndexError) as error:
        return {"error": str(error)[-300:]}
    return answer


def matrix_rate_of(setup: EngineConfig, host: dict[str, Any]) -> float:
    """Operations per second. int8 is measured only when an int8 engine runs."""
    if setup.precision == "int8":
        return peak_matmul_rate(setup.device, "int8")
    half = setup.precision in {"bfloat16", "float16"}
    return float(host["matrix_product_flops"]["bfloat16" if half else "float32"])


def run_network(name: str, host: dict[str, Any], args: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """All measurements of one network, in about so many seconds plus compilation."""
    measured, device = load(name, args.checkpoint), args.device
    tuning = screen(measured, device, args, seconds=min(1.0, seconds / 40))
    best, screened = tuning.fastest, {t.config: t.votes_per_second for t in tuning.trials}
    loops = search_plain(measured, device)
    fastest_loop = max(loops, key=lambda batch: loops[batch])
    sizes = (
        {"loop at 1000": 1000, "loop at its best": fastest_loop}
        if 1000 in loops
        else {"loop at its best": fastest_loop}
    )
    turns = {"engine": engine(measured, best)} | {
        label: plain(measured, size, device) for label, size in sizes.items()
    }
    rates = {"engine": screened[best] or 1.0} | {label: loops[size] for label, size in sizes.items()}
    medians = interleave(turns, rates, seconds / 2)
    return {
        "network": name,
        "setup": str(best),
        "votes_per_second": medians,
        "loop_best_batch": fastest_loop,
        "speed_up": {label: medians["engine"] / medians[label] for label in sizes},
        "n": measured.spec.n,
        "seconds_per_certificate": {label: (measured.spec.n + N0) / rate for label, rate in medians.items()},
        "noise_and_counting": overhead(measured, best, medians["engine"]),
        "flop_per_vote": measured.flops,
        "share_of_matrix_rate": medians["engine"] * measured.flops / matrix_rate_of(best, host),
        "memory": peak_memory(name, best, args),
        "trials": [
            {
                "setup": str(t.config),
                "votes_per_second": t.votes_per_second,
                "build_seconds": t.build_seconds,
                "error": t.error,
            }
            for t in tuning.trials
        ],
        "loop_votes_per_second": loops,
    }


def machine(device: DeviceKind) -> dict[str, Any]:
    return {
        "device": device_name(device),
        "processors": usable_cpus(),
        "versions": platform_versions(device),
        "matrix_product_flops": {
            "float32": peak_matmul_rate(device, "float32"),
            "bfloat16": peak_matmul_rate(device, "bfloat16"),
        },
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", default="lenet", help=f"comma-separated; of {', '.join(SPECS)}")
    parser.add_argument(
        "--random", action="store_true", help="random weights (the default without --checkpoint)"
    )
    parser.add_argument("--checkpoint", type=Path, help="a checkpoint folder of the one network named")
    parser.add_argument("--device", choices=["cpu", "cuda"])
    parser.add_argument("--setups", help="comma-separated engines to try, instead of all candidates")
    parser.add_argument(
        "--compile", action="store_true", help="try torch.compile too: minutes for deep networks"
    )
    parser.add_argument("--seconds", type=float, default=60, help="of measuring, for all networks together")
    parser.add_argument("--out", type=Path, help="where the JSON goes; else to stdout")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    args.device = args.device or available_device()
    torch.set_num_threads(usable_cpus())
    names = args.networks.split(",")
    document: dict[str, Any] = {"machine": machine(args.device), "networks": []}
    for name in names:
        try:
            found = run_network(name, document["machine"], args, args.seconds / len(names))
        except Exception as error:  # the other networks are still measured
            found = {"network": name, "error": f"{type(error).__name__}: {str(error)[-300:]}"}
        document["networks"].append(found)
        text = json.dumps(document, indent=1)
        if args.out:
            args.out.write_text(text)
        print(json.dumps({k: v for k, v in found.items() if k != "trials"}, indent=1), flush=True)


if __name__ == "__main__":
    main()
