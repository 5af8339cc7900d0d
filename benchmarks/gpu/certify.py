"""Certify every 20th test image of each checkpoint below a folder; a further call resumes.

python benchmarks/gpu/certify.py CHECKPOINTS --data DIR --logs DIR --n 100000 --seconds 120
    [--setup cuda:compile-cuda-graph/channels-last/folded:bfloat16:8192]
"""

import argparse
import time
from pathlib import Path

import images
import torch

from smoothcert.engines.config import EngineConfig
from smoothcert.engines.engine import Engine
from smoothcert.models.checkpoint import load_network
from smoothcert.models.registry import ModelRegistry
from smoothcert.schemas.evaluation_log import average_certified_radius
from smoothcert.schemas.evaluation_run import EvaluationRun
from training.evaluation import ROWS, LogWriter, evaluate, write_card_figures


def certify(folder: Path, args: argparse.Namespace, deadline: float) -> None:
    card = ModelRegistry(folder.parent).card(folder.name)
    setup = EngineConfig.parse(args.setup)
    photos = images.load_images(card.dataset, "test", args.data)
    run = EvaluationRun(
        model=card.name, weights_sha256=card.weights_sha256, dataset=card.dataset, split="test",
        split_images=len(photos), every=args.every, procedure="certify", n0=100, n=args.n, alpha=0.001,
        sigma=card.sigma, seed=0, setup=str(setup),
    )  # fmt: skip
    engine = Engine(load_network(folder), card.input_shape, len(card.labels), setup)
    wanted = range(0, len(photos), args.every)
    with LogWriter(args.logs / f"{card.name}-n{args.n}.tsv", run, ROWS, resume=True) as log:
        rows = list(log.rows)
        rest = [idx for idx in wanted if idx not in {row.idx for row in rows}]
        began = time.monotonic()
        for step in evaluate(engine, photos, run, rest):
            if step.row is not None:
                log.append(step.row)
                rows.append(step.row)
                if time.monotonic() > deadline:
                    break
    print(
        f"{card.name}: {len(rows)} images in {time.monotonic() - began:.1f} s,"
        f" ACR {average_certified_radius(rows):.4f}",
        flush=True,
    )
    if len(rows) == len(wanted):
        write_card_figures(folder, rows, run)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--logs", type=Path, required=True)
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--every", type=int, default=20)
    parser.add_argument("--only", default="")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--setup", default="cuda:compile-cuda-graph/channels-last/folded:bfloat16:8192")
    args = parser.parse_args()
    deadline = time.monotonic() + args.seconds
    args.logs.mkdir(parents=True, exist_ok=True)
    torch._dynamo.config.cache_size_limit = 64  # one compiled graph serves every network of one architecture
    for folder in sorted(args.checkpoints.glob(f"{args.only}*")):
        if time.monotonic() < deadline:
            certify(folder, args, deadline)


if __name__ == "__main__":
    main()
