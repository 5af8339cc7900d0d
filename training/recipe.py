"""A recipe: everything that decides the weights, in one frozen value."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from training.methods.base import Method
from training.schedule import LATE, Schedule

Precision = Literal["float32", "bfloat16"]


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
