"""The published figures.

n0 = 100, n = 100 000, alpha = 0.001, one-sided, certified at the training sigma. paper.json: as the paper
prints them. The rest is from the logs that its authors and those of later methods published: MNIST as means
over 5 training seeds; for every 20th test image, too, as these 500 are harder or easier than the whole set.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

PAPER = Path(__file__).with_name("paper.json")


@dataclass(frozen=True)
class Scores:
    """What certifying one classifier gave.

    acr: l2, pixels in [0,1]. accuracy: certified accuracy in % at the radii; empty if not published.
    """

    acr: float
    accuracy: tuple[float, ...] = ()
    radii: tuple[float, ...] = ()

    def at(self, radius: float) -> float | None:
        """Certified accuracy in %; None if it was not published for this radius."""
        return dict(zip(self.radii, self.accuracy, strict=True)).get(radius)


@cache
def paper_rows(table: str) -> Sequence[dict[str, Any]]:
    """The rows of a table as printed; `certified_accuracy` by radius."""
    rows: Sequence[dict[str, Any]] = json.loads(PAPER.read_text())[table]
    return rows


def printed_scores(row: dict[str, Any]) -> Scores:
    """The figures of a row of `paper_rows`."""
    by_radius = row.get("certified_accuracy", {})
    return Scores(row["acr"], tuple(by_radius.values()), tuple(map(float, by_radius)))


Table = dict[tuple[str, float], Scores]  # by label and sigma; accuracies at RADII
RADII: dict[float, tuple[float, ...]] = {  # of MNIST and Fashion-MNIST, by sigma
    0.25: (0.0, 0.25, 0.5, 0.75),
    0.5: (0.0, 0.5, 1.0, 1.5, 1.75),
    1.0: (0.0, 0.5, 1.0, 1.5, 2.0, 2.5),
}
CIFAR_RADII: dict[float, tuple[float, ...]] = {
    0.25: RADII[0.25],
    0.5: (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5),
    1.0: (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0),
}
MNIST: Table = {
    ("gaussian", 0.25): Scores(0.9108, (99.2, 98.5, 96.7, 93.1)),
    ("gaussian", 0.5): Scores(1.5581, (99.2, 96.9, 89.8, 67.8, 44.9)),
    ("gaussian", 1.0): Scores(1.6184, (96.3, 91.4, 79.9, 59.5, 32.5, 10.9)),
    ("stability", 0.25): Scores(0.9152, (99.3, 98.6, 97.1, 93.8)),
    ("stability", 0.5): Scores(1.5719, (99.3, 97.3, 90.8, 69.2, 45.8)),
    ("stability", 1.0): Scores(1.6341, (96.4, 91.6, 80.4, 60.5, 33.4, 11.1)),
    ("smoothadv", 0.25): Scores(0.9322, (99.4, 99.0, 98.2, 96.8)),
    ("smoothadv", 0.5): Scores(1.6872, (99.0, 97.4, 92.9, 81.1, 67.5)),
    ("smoothadv", 1.0): Scores(1.7786, (95.8, 90.7, 80.8, 64.4, 43.3, 22.6)),
    ("macer", 0.25): Scores(0.9201, (99.3, 98.7, 97.3, 94.7)),
    ("macer", 0.5): Scores(1.5899, (98.7, 96.3, 90.1, 72.1, 52.3)),
    ("macer", 1.0): Scores(1.5950, (91.6, 83.4, 71.1, 55.7, 38.7, 20.1)),
    ("consistency-legacy", 0.25): Scores(0.9297, (99.5, 98.9, 98.1, 96.3)),
    ("consistency-legacy", 0.5): Scores(1.6653, (99.0, 97.4, 93.0, 79.4, 63.0)),
    ("consistency-legacy", 1.0): Scores(1.7486, (92.5, 86.4, 76.2, 61.3, 44.2, 26.8)),
    ("consistency", 0.25): Scores(0.9282, (99.4, 98.9, 97.9, 96.0)),
    ("consistency", 0.5): Scores(1.6549, (99.2, 97.5, 92.9, 78.3, 60.4)),
    ("consistency", 1.0): Scores(1.7376, (95.0, 89.8, 79.7, 63.5, 41.7, 20.3)),
    ("smoothadv-consistency", 0.25): Scores(0.9323, (99.3, 98.9, 98.1, 96.8)),
    ("smoothadv-consistency", 0.5): Scores(1.6957, (98.6, 97.0, 92.6, 82.0, 70.4)),
    ("smoothadv-consistency", 1.0): Scores(1.8163, (94.2, 88.7, 79.0, 64.1, 45.4, 27.9)),
}
MNIST_EVERY_20TH: Table = {
    ("gaussian", 0.25): Scores(0.8984, (98.9, 97.3, 95.4, 90.9)),
    ("gaussian", 0.5): Scores(1.5370, (98.4, 95.5, 88.9, 65.0, 41.8)),
    ("gaussian", 1.0): Scores(1.6062, (95.4, 90.0, 79.2, 58.0, 31.2, 10.8)),
    ("stability", 0.25): Scores(0.9044, (99.2, 97.7, 95.6, 92.2)),
    ("stability", 0.5): Scores(1.5499, (98.8, 95.6, 89.6, 65.9, 42.7)),
    ("stability", 1.0): Scores(1.6238, (95.4, 90.6, 79.8, 59.3, 32.0, 10.8)),
    ("smoothadv", 0.25): Scores(0.9207, (98.8, 97.8, 96.8, 95.4)),
    ("smoothadv", 0.5): Scores(1.6697, (98.3, 96.0, 92.5, 79.9, 64.3)),
    ("smoothadv", 1.0): Scores(1.7713, (94.9, 89.6, 79.8, 63.3, 42.6, 22.2)),
    ("macer", 0.25): Scores(0.9078, (99.0, 97.6, 95.5, 93.2)),
    ("macer", 0.5): Scores(1.5712, (98.2, 95.4, 88.4, 70.3, 48.7)),
    ("macer", 1.0): Scores(1.5922, (90.1, 82.3, 71.3, 54.8, 38.9, 18.8)),
    ("consistency-legacy", 0.25): Scores(0.9170, (99.2, 97.9, 96.4, 94.4)),
    ("consistency-legacy", 0.5): Scores(1.6456, (98.2, 96.2, 92.3, 77.1, 59.8)),
    ("consistency-legacy", 1.0): Scores(1.7447, (91.4, 84.6, 75.7, 60.2, 44.0, 27.5)),
    ("consistency", 0.25): Scores(0.9179, (99.3, 98.0, 96.4, 94.6)),
    ("consistency", 0.5): Scores(1.6330, (98.3, 96.2, 91.6, 76.5, 57.2)),
    ("consistency", 1.0): Scores(1.7308, (93.6, 88.5, 78.5, 62.2, 40.6, 20.8)),
    ("smoothadv-consistency", 0.25): Scores(0.9213, (98.8, 97.8, 96.6, 95.4)),
    ("smoothadv-consistency", 0.5): Scores(1.6788, (98.0, 96.0, 91.8, 80.2, 68.0)),
    ("smoothadv-consistency", 1.0): Scores(1.8093, (93.0, 87.6, 78.6, 63.2, 44.6, 29.2)),
    ("smoothmix", 0.25): Scores(0.9215, (98.9, 97.9, 97.0, 95.4)),
    ("smoothmix", 0.5): Scores(1.6776, (98.1, 96.2, 91.8, 79.9, 68.4)),
    ("smoothmix", 1.0): Scores(1.8079, (92.5, 86.9, 76.8, 62.0, 44.3, 29.8)),
    ("smoothmix-weight-1", 0.25): Scores(0.9185, (99.0, 98.0, 97.0, 95.0)),
    ("smoothmix-weight-1", 0.5): Scores(1.6602, (98.4, 96.2, 92.6, 78.7, 62.8)),
    ("smoothmix-weight-1", 1.0): Scores(1.7773, (94.7, 89.2, 79.2, 62.3, 42.9, 23.4)),
    ("cat-rs", 0.25): Scores(0.9239, (98.6, 98.0, 96.8, 95.8)),
    ("cat-rs", 0.5): Scores(1.6862, (98.0, 96.0, 92.6, 81.4, 67.4)),
    ("cat-rs", 1.0): Scores(1.8306, (92.0, 86.2, 77.0, 63.8, 47.2, 31.2)),
}
FASHION_MNIST: Table = {
    ("gaussian", 0.25): Scores(0.6701),
    ("gaussian", 0.5): Scores(1.0563),
    ("gaussian", 1.0): Scores(1.3163),
    ("stability", 0.25): Scores(0.6886),
    ("stability", 0.5): Scores(1.118),
    ("stability", 1.0): Scores(1.3939),
    ("macer", 0.25): Scores(0.7268),
    ("macer", 0.5): Scores(1.1833),
    ("macer", 1.0): Scores(1.5045),
    ("smoothadv", 0.25): Scores(0.7559),
    ("smoothadv", 0.5): Scores(1.2547),
    ("smoothadv", 1.0): Scores(1.538),
    ("consistency", 0.25): Scores(0.7436),
    ("consistency", 0.5): Scores(1.2118),
    ("consistency", 1.0): Scores(1.4913),
    ("cat-rs", 0.25): Scores(0.7566),
    ("cat-rs", 0.5): Scores(1.2741),
    ("cat-rs", 1.0): Scores(1.6068),
}
FASHION_MNIST_EVERY_20TH: Table = {
    ("gaussian", 0.25): Scores(0.6779, (89.8, 81.6, 72.0, 58.4)),
    ("gaussian", 0.5): Scores(1.1013, (84.8, 74.6, 56.6, 39.4, 28.6)),
    ("gaussian", 1.0): Scores(1.4185, (78.2, 71.0, 59.2, 46.4, 33.4, 22.2)),
    ("consistency", 0.25): Scores(0.7465, (87.0, 84.8, 78.6, 72.0)),
    ("consistency", 0.5): Scores(1.2416, (84.2, 76.6, 67.6, 51.8, 41.8)),
    ("consistency", 1.0): Scores(1.6140, (75.6, 70.0, 63.8, 53.0, 40.8, 32.0)),
    ("smoothadv", 0.25): Scores(0.7590, (84.8, 82.4, 80.2, 76.6)),
    ("smoothadv", 0.5): Scores(1.2859, (82.2, 76.0, 69.8, 56.4, 48.4)),
    ("smoothadv", 1.0): Scores(1.6563, (77.6, 71.2, 64.8, 54.6, 41.8, 32.6)),
    ("macer", 0.25): Scores(0.7284, (87.2, 83.4, 77.2, 68.0)),
    ("macer", 0.5): Scores(1.2226, (81.8, 77.4, 66.8, 50.8, 39.2)),
    ("macer", 1.0): Scores(1.6212, (75.6, 69.4, 63.8, 54.2, 44.4, 32.4)),
    ("smoothmix", 0.25): Scores(0.7499, (87.6, 83.8, 78.6, 72.4)),
    ("smoothmix", 0.5): Scores(1.2796, (84.6, 77.0, 69.0, 56.0, 46.0)),
    ("smoothmix", 1.0): Scores(1.6629, (78.6, 70.0, 61.0, 52.4, 43.0, 33.4)),
    ("cat-rs", 0.25): Scores(0.7565, (85.4, 82.8, 79.8, 75.4)),
    ("cat-rs", 0.5): Scores(1.3102, (81.0, 76.6, 71.4, 59.6, 52.8)),
    ("cat-rs", 1.0): Scores(1.7181, (75.0, 69.2, 64.6, 55.8, 46.8, 35.2)),
}
CIFAR10: Table = {  # ResNet-110, Consistency as its authors corrected it, and later methods
    ("consistency", 0.25): Scores(0.5519),
    ("consistency", 0.5): Scores(0.7195),
    ("consistency", 1.0): Scores(0.7563),
    ("smoothadv-consistency", 0.25): Scores(0.5484),
    ("smoothadv-consistency", 0.5): Scores(0.7259),
    ("smoothadv-consistency", 1.0): Scores(0.8160),
    ("cat-rs", 0.25): Scores(0.5616),
    ("cat-rs", 0.5): Scores(0.7571),
    ("cat-rs", 1.0): Scores(0.8148),
    ("resnet20-consistency", 0.5): Scores(0.6864),
    ("resnet20-gaussian", 0.5): Scores(0.5242),
}
CIFAR10_EVERY_20TH: Table = {
    ("consistency", 0.25): Scores(0.5546, (76.2, 68.6, 58.8, 46.6)),
    ("consistency", 0.5): Scores(0.7073, (64.4, 57.0, 47.6, 42.0, 34.8, 28.2, 22.0)),
    ("consistency", 1.0): Scores(0.7943, (46.6, 37.8, 30.2, 23.6, 17.6, 13.8, 8.8)),
    ("cat-rs", 0.25): Scores(0.5564),
    ("cat-rs", 0.5): Scores(0.7367),
    ("cat-rs", 1.0): Scores(0.8615),
}
CIFAR10_EXPECTED: Table = {  # of every 20th image at n = 10 000: votes redrawn from the logs' p_A
    ("consistency", 0.25): Scores(0.4860, (76.0, 68.4, 58.1, 43.8)),
    ("consistency", 0.5): Scores(0.6396, (64.1, 56.7, 47.1, 41.5, 34.2, 27.2, 19.2)),
    ("consistency", 1.0): Scores(0.7394, (46.0, 37.0, 29.9, 23.2, 17.2, 12.9, 7.1)),
    ("resnet20-consistency", 0.5): Scores(0.6234, (60.8, 53.0, 48.0, 41.2, 33.2, 26.8, 20.7)),
    ("resnet20-gaussian", 0.5): Scores(0.5005, (67.6, 54.2, 40.3, 30.4, 22.1, 13.9, 6.3)),
}
EXPECTED_AT = 10_000  # votes
# ACR of the whole MNIST test set: sigma = 1, Consistency (kl_entropy, eta = 0.5), by lambda and by m.
ACR_BY_WEIGHT = {1: 1.714, 5: 1.738, 15: 1.731, 20: 1.720, 25: 1.226, 30: 0.846, 50: 0.456}
ACR_BY_NOISES = {2: 1.738, 4: 1.756, 8: 1.762}
WHOLE: dict[str, Table] = {"mnist": MNIST, "fashion-mnist": FASHION_MNIST, "cifar10": CIFAR10}
EVERY_20TH: dict[str, Table] = {
    "mnist": MNIST_EVERY_20TH,
    "fashion-mnist": FASHION_MNIST_EVERY_20TH,
    "cifar10": CIFAR10_EVERY_20TH,
}
