"""The published figures.

n0 = 100, n = 100 000, alpha = 0.001, one-sided, certified at the training sigma. MNIST: means over 5 training
seeds, for the whole test set and for every 20th image of it (from the same logs; these 500 images are harder
than the whole set). Sources: Jeong & Shin, NeurIPS 2020, and the logs that its authors published.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scores:
    """What certifying one classifier gave.

    acr: l2, pixels in [0,1]. accuracy: certified accuracy in % at RADII; empty if not published.
    """

    acr: float
    accuracy: tuple[float, ...] = ()


RADII: dict[tuple[str, float], tuple[float, ...]] = {
    ("mnist", 0.25): (0.0, 0.25, 0.5, 0.75),
    ("mnist", 0.5): (0.0, 0.5, 1.0, 1.5, 1.75),
    ("mnist", 1.0): (0.0, 0.5, 1.0, 1.5, 2.0, 2.5),
}
OTHER_RADII = (0.0, 0.5, 1.0, 1.5, 2.0)  # if only the ACR was published
MNIST: dict[tuple[str, float], Scores] = {
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
MNIST_EVERY_20TH: dict[tuple[str, float], Scores] = {
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
}
FASHION_MNIST: dict[tuple[str, float], Scores] = {
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
}
CIFAR10: dict[tuple[str, float], Scores] = {
    ("gaussian", 0.25): Scores(0.424),
    ("gaussian", 0.5): Scores(0.5251),
    ("gaussian", 1.0): Scores(0.5105),
    ("stability", 0.25): Scores(0.4199),
    ("stability", 0.5): Scores(0.5312),
    ("stability", 1.0): Scores(0.5145),
    ("smoothadv", 0.25): Scores(0.5512),
    ("smoothadv", 0.5): Scores(0.7378),
    ("smoothadv", 1.0): Scores(0.7896),
    ("macer", 0.25): Scores(0.5313),
    ("macer", 0.5): Scores(0.691),
    ("macer", 1.0): Scores(0.7441),
    ("consistency", 0.25): Scores(0.5519),
    ("consistency", 0.5): Scores(0.7195),
    ("consistency", 1.0): Scores(0.7563),
    ("consistency-legacy", 0.25): Scores(0.5512),
    ("consistency-legacy", 0.5): Scores(0.7371),
    ("consistency-legacy", 1.0): Scores(0.7419),
    ("smoothadv-consistency", 0.25): Scores(0.5484),
    ("smoothadv-consistency", 0.5): Scores(0.7259),
    ("smoothadv-consistency", 1.0): Scores(0.816),
}
IMAGENET: dict[tuple[str, float], Scores] = {
    ("gaussian", 0.5): Scores(0.72),
    ("gaussian", 1.0): Scores(0.864),
    ("consistency", 0.5): Scores(0.8215),
    ("consistency", 1.0): Scores(0.9823),
    ("smoothadv", 0.5): Scores(0.849),
    ("smoothadv", 1.0): Scores(1.079),
}
# ACR of the whole MNIST test set: sigma = 1, Consistency (kl_entropy, eta = 0.5), by lambda and by m.
ACR_BY_WEIGHT = {1: 1.714, 5: 1.738, 15: 1.731, 20: 1.720, 25: 1.226, 30: 0.846, 50: 0.456}
ACR_BY_NOISES = {2: 1.738, 4: 1.756, 8: 1.762}
# Hours of training: CIFAR-10, sigma = 0.5, one TITAN X Pascal (the paper's Table 3).
HOURS = {"gaussian": 4.6, "consistency": 8.7, "macer": 14.1, "smoothadv": 23.1}
BY_DATASET = {"mnist": MNIST, "fashion-mnist": FASHION_MNIST, "cifar10": CIFAR10, "imagenet": IMAGENET}
