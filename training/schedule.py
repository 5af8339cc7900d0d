"""A training schedule: how many steps, how long each."""

from dataclasses import dataclass

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
