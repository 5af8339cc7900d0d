"""The field's `Smooth` beside `smoothcert.compat.Smooth`: votes per second, in turns, and the votes compared.

    python benchmarks/smooth.py --model mnist-lenet-gaussian-0.50 --n 20000 --rounds 3

The field's loop is that of github.com/locuslab/smoothing, as published; both get the same module and image.
"""

import argparse
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from smoothcert.compat import Smooth
from smoothcert.engines.hardware import usable_cpus
from smoothcert.images.decode import read_image
from smoothcert.models.checkpoint import load_network
from smoothcert.models.registry import ModelRegistry

ALPHA, N0 = 0.001, 100


def sample_noise(smooth: Smooth, x: Tensor, num: int, batch_size: int) -> np.ndarray:
    """`Smooth._sample_noise`, as published, on the tensor's device."""
    with torch.no_grad():
        counts = np.zeros(smooth.num_classes, dtype=int)
        for _ in range(-(-num // batch_size)):
            this_batch_size = min(batch_size, num)
            num -= this_batch_size
            batch = x.repeat((this_batch_size, 1, 1, 1))
            noise = torch.randn_like(batch) * smooth.sigma
            predictions = smooth.base_classifier(batch + noise).argmax(1)
            counts += np.bincount(predictions.cpu().numpy(), minlength=smooth.num_classes)
        return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mnist-lenet-gaussian-0.50")
    parser.add_argument("--image", type=Path, default=Path("tests/data/digit-4.png"))
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=1000)
    options = parser.parse_args()
    registry = ModelRegistry()
    card = registry.card(options.model)
    network = load_network(registry.folder(options.model), card)
    x = torch.from_numpy(read_image(options.image.read_bytes(), card).to_array() / 255).float()
    smooth = Smooth(network, len(card.labels), card.sigma)
    smooth.certify(x, N0, 1000, ALPHA, options.batch)  # measures the engines
    threads = usable_cpus()
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(options.rounds):
        torch.set_num_threads(threads)  # engines change it
        began = time.perf_counter()
        counts = sample_noise(smooth, x, options.n, options.batch)
        theirs.append(options.n / (time.perf_counter() - began))
        began = time.perf_counter()
        result = smooth.counts(x, options.n, options.batch)
        ours.append(options.n / (time.perf_counter() - began))
        kept = (counts + result) > 0
        p_value = stats.chi2_contingency([counts[kept], result[kept]]).pvalue if kept.sum() > 1 else 1.0
        print(f"field {counts.tolist()}  ours {result.tolist()}  p = {p_value:.3f}")
    print("| model | field's loop, votes/s | compat.Smooth, votes/s | ratio |\n|---|---|---|---|")
    ratio = median(o / t for o, t in zip(ours, theirs, strict=True))
    print(f"| {card.name} | {median(theirs):.0f} | {median(ours):.0f} | {ratio:.1f} |")


if __name__ == "__main__":
    main()
