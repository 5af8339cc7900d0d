"""The paper's tables as declared recipes."""

from training.experiments.experiment import Arm, Experiment

SIGMAS = (0.25, 0.5, 1.0)
LEGACY = {"form": "legacy"}


def arms(dataset: str, labels: tuple[str, ...], sigmas: tuple[float, ...] = SIGMAS) -> tuple[Arm, ...]:
    """One arm for each label and noise level; `consistency-legacy` is a form of consistency."""
    return tuple(
        Arm(label, label.removesuffix("-legacy"), dataset, sigma, LEGACY if label.endswith("-legacy") else {})
        for sigma in sigmas
        for label in labels
    )


TABLE1 = Experiment(
    "table1",
    "MNIST, LeNet: the methods beside each other, Consistency as the paper printed it (`legacy`)",
    "table",
    arms("mnist", ("gaussian", "stability", "smoothadv", "macer", "consistency-legacy")),
)
MNIST_SUPPLEMENT = Experiment(
    "mnist-supplement",
    "MNIST, LeNet: Consistency as its authors corrected it (`kl_entropy`), alone and with SmoothAdv",
    "table",
    arms("mnist", ("consistency", "smoothadv-consistency")),
)
TABLE2 = Experiment(
    "table2",
    "CIFAR-10, ResNet-110: the methods beside each other",
    "table",
    arms(
        "cifar10",
        (
            *("gaussian", "stability", "smoothadv", "macer"),
            *("consistency-legacy", "consistency", "smoothadv-consistency"),
        ),
    ),
)
TABLE3 = Experiment(
    "table3",
    "CIFAR-10, ResNet-110, sigma = 0.5: what training costs",
    "costs",
    arms("cifar10", ("gaussian", "consistency", "macer", "smoothadv"), (0.5,)),
)
TABLE4 = Experiment(
    "table4",
    "ImageNet, ResNet-50, 500 images; its class folders are looked for in imagenet/ below --data-root",
    "table",
    arms("imagenet", ("gaussian", "consistency", "smoothadv"), (0.5, 1.0)),
    every=100,
)
FASHION_MNIST = Experiment(
    "fashion-mnist",
    "Fashion-MNIST, LeNet: the methods beside each other (one seed)",
    "table",
    arms("fashion-mnist", ("gaussian", "stability", "macer", "smoothadv", "consistency")),
)
