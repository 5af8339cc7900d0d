"""A recipe: everything that decides the weights, in one frozen value."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from training.methods.base import Method
from training.sources import find_source

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


IMAGENET = DataDefaults(
    "resnet50", Schedule(epochs=90, lr=0.1, lr_step=30), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
)


def data_defaults(dataset: str) -> DataDefaults:
    """The field's defaults for a data set; any other one is treated like ImageNet."""
    source = find_source(dataset)
    return source.defaults if source else IMAGENET


def published_schedule(method_name: str, dataset: str) -> Schedule:
    """The steps that a method's published runs took on a data set."""
    source = find_source(dataset)
    own = source.own_schedules if source else {}
    return own.get(method_name, data_defaults(dataset).schedule)


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
