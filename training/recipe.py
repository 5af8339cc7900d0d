"""A recipe: everything that decides the weights, in one frozen value."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from training.methods.base import Method

Precision = Literal["float32", "bfloat16"]
LATE = 1  # epochs


@dataclass(frozen=True)
class Schedule:
    """SGD and its steps, as the published runs took them.

    epochs: full passes; batch: images drawn at once, which a method cuts into its `chunks`, one a step.
    lr_step: epochs between drops by `lr_decay`; late: epochs by which every drop comes late, as published.
    """

    epochs: int
    lr: float
    lr_step: int
    batch: int = 256
    lr_decay: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    late: int = LATE

    @property
    def first_drop(self) -> int:
        """The first epoch (from 0) at a lower learning rate."""
        return self.lr_step + self.late

    def lr_at(self, epoch: int) -> float:
        """Learning rate of one epoch, counted from 0."""
        drops: int = max(epoch - self.late, 0) // self.lr_step
        return float(self.lr * self.lr_decay**drops)


@dataclass(frozen=True)
class DataDefaults:
    """What the field uses on one data set."""

    architecture: str
    schedule: Schedule
    mean: tuple[float, ...]
    std: tuple[float, ...]


DIGITS = DataDefaults("lenet", Schedule(epochs=90, lr=0.01, lr_step=30), (0.0,), (1.0,))
IMAGENET = DataDefaults(
    "resnet50", Schedule(epochs=90, lr=0.1, lr_step=30), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
)
DATA_DEFAULTS: dict[str, DataDefaults] = {
    "mnist": DIGITS,
    "fashion-mnist": DIGITS,
    "cifar10": DataDefaults(
        "resnet110",
        Schedule(epochs=150, lr=0.1, lr_step=50),
        (0.4914, 0.4822, 0.4465),
        (0.2023, 0.1994, 0.2010),
    ),
}


# Methods whose published runs on a data set took steps of their own: MACER's are its authors' code.
OWN_SCHEDULES: dict[tuple[str, str], Schedule] = {
    ("macer", "cifar10"): Schedule(epochs=440, lr=0.01, lr_step=200, batch=64, weight_decay=5e-4, late=0),
}


def data_defaults(dataset: str) -> DataDefaults:
    """The field's defaults for a data set; any other one is treated like ImageNet."""
    return DATA_DEFAULTS.get(dataset, IMAGENET)


def published_schedule(method_name: str, dataset: str) -> Schedule:
    """The steps that a method's published runs took on a data set."""
    return OWN_SCHEDULES.get((method_name, dataset), data_defaults(dataset).schedule)


@dataclass(frozen=True)
class Recipe:
    """One training run. Two runs of the same recipe on the same CPU give the same weights, bit for bit."""

    method_name: str
    method: Method
    dataset: str
    architecture: str
    schedule: Schedule
    mean: tuple[float, ...]
    std: tuple[float, ...]
    seed: int = 0
    precision: Precision = "bfloat16"
    compile: bool = False
    narrow_kernels: bool = False  # training.conv3x3 in place of cuDNN; bfloat16 on CUDA only
    quick: bool = True  # layers rewired for the CPU: the same function, rounded elsewhere (training.quick)
    micro_batch: int | None = None  # images of one forward pass, where a whole step's don't fit in memory
    initial: str | None = None  # digest of the weights it starts from; fresh ones without
    method_options: dict[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """The recipe as plain values: what is compared when a run resumes, and kept in the card."""
        values = asdict(self)
        if self.schedule.late == LATE:
            del values["schedule"]["late"]  # states and cards of before don't know it
        return values
