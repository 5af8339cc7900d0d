"""Standard training: cross entropy on the images as they are. Such a network needs a denoiser before it."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from smoothcert.errors import InvalidRequest
from training.methods.base import Method, TrainingProgress, log_probabilities, mean_cross_entropy


@dataclass(frozen=True)
class Standard(Method):
    """CE(F(x), y), without noise. sigma: only the level at which the network is certified."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_noises != 1:
            raise InvalidRequest("num_noises must be 1: standard training draws no noise.")

    @classmethod
    def defaults(cls, dataset: str, sigma: float, **given: Any) -> dict[str, Any]:
        """It has no options."""
        return {"num_noises": 1}

    @property
    def unused_options(self) -> frozenset[str]:
        """See Method.unused_options."""
        return frozenset({"num_noises"})

    def loss(
        self,
        network: nn.Module,
        images_BCHW: Tensor,
        labels_B: Tensor,
        progress: TrainingProgress,
        generator: torch.Generator | None,
    ) -> Tensor:
        """See Method.loss."""
        return mean_cross_entropy(log_probabilities(network, images_BCHW, 1), labels_B)
