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
    precision: Precision = (
        "float32"  # bfloat16: under autocast; where the processor lacks it, slow and rounded more
    )
    channels_last: bool = True  # memory format of images and convolutions; else contiguous
    compile: bool = False  # the residual blocks; needs a C++ compiler, on CUDA Triton
    narrow_kernels: bool = False  # training.conv3x3 in place of cuDNN; bfloat16 on CUDA only
    quick: bool = True  # layers rewired for the CPU: the same function, rounded elsewhere (training.quick)
    micro_batch: int | None = None  # images of one forward pass, where a whole step's don't fit in memory
    initial: str | None = None  # digest of the weights it starts from; fresh ones without
    method_options: dict[str, Any] = field(default_factory=dict)

    @property
    def engine(self) -> str:
        """For example `bfloat16/channels-last/compiled`: all of it that decides speed and not the method."""
        layout = "channels-last" if self.channels_last else "contiguous"
        return "/".join([self.precision, layout, *(["compiled"] if self.compile else [])])

    def record(self) -> dict[str, Any]:
        """The recipe as plain values: what is compared when a run resumes, and kept in the card."""
        values = asdict(self)
        if self.schedule.late == LATE:
            del values["schedule"]["late"]  # states and cards of before don't know it
        if self.channels_last:
            del values["channels_last"]  # nor this
        return values
