"""docs/results.md's tables: our logs beside the published figures for the same images.

python benchmarks/beside_reference.py docs/results/*.tsv
"""

import sys
from pathlib import Path

from training.log import read_log
from training.summary import average_certified_radius, certified_accuracy

RADII = {0.25: (0.0, 0.25, 0.5, 0.75), 0.5: (0.0, 0.5, 1.0, 1.5, 1.75), 1.0: (0.0, 0.5, 1.0, 1.5, 2.0, 2.5)}
# MNIST, LeNet, every 20th test image, n0 = 100, n = 100 000, alpha = 0.001, one-sided; means over 5 seeds of
# the published logs: ACR, then certified accuracy in % at RADII.
PUBLISHED: dict[tuple[str, float], tuple[float, ...]] = {
    ("gaussian", 0.25): (0.8984, 98.9, 97.3, 95.4, 90.9),
    ("gaussian", 0.5): (1.5370, 98.4, 95.5, 88.9, 65.0, 41.8),
    ("gaussian", 1.0): (1.6062, 95.4, 90.0, 79.2, 58.0, 31.2, 10.8),
    ("stability", 0.25): (0.9044, 99.2, 97.7, 95.6, 92.2),
    ("stability", 0.5): (1.5499, 98.8, 95.6, 89.6, 65.9, 42.7),
    ("stability", 1.0): (1.6238, 95.4, 90.6, 79.8, 59.3, 32.0, 10.8),
    ("consistency-legacy", 0.25): (0.9170, 99.2, 97.9, 96.4, 94.4),
    ("consistency-legacy", 0.5): (1.6456, 98.2, 96.2, 92.3, 77.1, 59.8),
    ("consistency-legacy", 1.0): (1.7447, 91.4, 84.6, 75.7, 60.2, 44.0, 27.5),
    ("consistency", 0.25): (0.9179, 99.3, 98.0, 96.4, 94.6),
    ("consistency", 0.5): (1.6330, 98.3, 96.2, 91.6, 76.5, 57.2),
    ("consistency", 1.0): (1.7308, 93.6, 88.5, 78.5, 62.2, 40.6, 20.8),
}


def table(path: Path) -> str:
    """One log beside the published figures; the difference in the last row."""
    method, sigma_text = path.stem.removeprefix("mnist-lenet-").rsplit("-", 1)
    sigma = float(sigma_text)
    rows = read_log(path).rows
    ours = (average_certified_radius(rows), *(100 * certified_accuracy(rows, r) for r in RADII[sigma]))
    theirs = PUBLISHED[method, sigma]
    lines = {"here": ours, "published, same 500 images": theirs}
    heads = " | ".join(f"r={r:g}" for r in RADII[sigma])
    text = [f"| {path.stem} ({len(rows)} images) | ACR | {heads} |", "|---|" + "---:|" * len(ours)]
    text += [
        f"| {name} | {v[0]:.4f} | " + " | ".join(f"{x:.1f}" for x in v[1:]) + " |"
        for name, v in lines.items()
    ]
    gap = [a - b for a, b in zip(ours, theirs, strict=True)]
    text.append(f"| difference | {gap[0]:+.4f} | " + " | ".join(f"{x:+.1f}" for x in gap[1:]) + " |")
    return "\n".join(text)


if __name__ == "__main__":
    logs = [Path(name) for name in sys.argv[1:] if Path(name).name.startswith("mnist-lenet")]
    print("\n\n".join(table(log) for log in sorted(logs)))
