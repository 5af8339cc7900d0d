"""What a training method is: one frozen dataclass (the recipe's numbers) with one loss."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class TrainingProgress:
    """Where training stands, as device tensors so that a captured CUDA graph sees them change.

    epoch: scalar float tensor, epochs completed plus the share of this one.
    first_drop: the epoch at which the learning rate first drops (float; MACER's robust term waits for it).
    """

    epoch: Tensor
    first_drop: float


class Method(Protocol):
    """A published training method. Implementations are frozen dataclasses, listed in training.methods.

    `num_noises` (m): copies of each image in one forward pass.
    `chunks`: optimizer steps that a batch of images is cut into. The published runs cut it into m, so that a
    step has as many forward samples as a batch has images; MACER's take a batch with all noises at once.
    """

    @property
    def sigma(self) -> float: ...  # noise level, pixels in [0,1]

    @property
    def num_noises(self) -> int: ...

    @property
    def chunks(self) -> int: ...

    @classmethod
    def defaults(cls, dataset: str, sigma: float, **given: Any) -> dict[str, Any]:
        """The published options on a data set at the nearest noise level, sigma left out.

        `given` are options the user has chosen, on which others depend.
        """
        ...

    def loss(
        self,
        network: nn.Module,
        images_BCHW: Tensor,  # float32, pixels in [0,1], B images before repetition
        labels_B: Tensor,  # int64
        moment: TrainingProgress,
        generator: torch.Generator | None,
    ) -> Tensor:
        """The scalar loss of one optimizer step, float32.

        Capturable in a CUDA graph: no data-dependent shapes, no `.item()`, no Python branch on tensor values.
        Noise comes from `generator` (None: the default one of the images' device).
        """
        ...


def repeat_with_noise(
    images_BCHW: Tensor, num_noises: int, sigma: float, generator: torch.Generator | None
) -> Tensor:
    """m noisy copies of every image, copies of noise i contiguous: shape (m*B, C, H, W), not clipped.

    sigma: in the images' unit, pixels in [0,1].
    """
    shape_mBCHW = (num_noises, *images_BCHW.shape)
    noise = torch.randn(shape_mBCHW, generator=generator, device=images_BCHW.device, dtype=images_BCHW.dtype)
    return noise.mul_(sigma).add_(images_BCHW).flatten(0, 1)
