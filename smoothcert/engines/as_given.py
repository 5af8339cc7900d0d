"""An engine for classifiers that can't be captured: eager, as they are, on their own device."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smoothcert.engines.autotune import default_config
from smoothcert.engines.config import EngineConfig
from smoothcert.engines.hardware import describe
from smoothcert.errors import InternalError
from smoothcert.noise.sampler import Image, Sampler
from smoothcert.schemas.certificate import Shape
from smoothcert.votes import NO_CLASS, VoteSource

BACKEND = "as-given"  # in certificates; no other program has this back end, so none replays such votes


class AsGivenEngine:
    """Draws votes like `Engine`, but neither copies, casts, folds nor compiles."""

    def __init__(
        self,
        scores: Callable[[Tensor], Tensor],
        shape_CHW: Shape,
        num_classes: int,
        *,
        device: torch.device,
        batch: int | None = None,
    ) -> None:
        """scores: (B,C,H,W) float32 pixels in [0,1], plus noise, to scores (B,K). batch: votes at once."""
        self.voter = AsGivenVoter(scores, shape_CHW, num_classes, device, batch)
        setup = self.voter.setup
        name = describe(setup).device if device.type in ("cpu", "cuda") else device.type
        backend = f"{BACKEND}/{setup.threads}-threads"
        self.description = describe(setup).model_copy(update={"backend": backend, "device": name})

    def sampler(self, image_CHW: Image, sigma: float, seed: int) -> VoteSource:
        """The votes of one image (uint8, C,H,W) at noise level sigma (pixels in [0,1])."""
        return Sampler(self.voter, image_CHW, sigma, seed)


class AsGivenVoter:
    """A BatchVoter that calls a Python function. offset_CHW: added to every noisy copy, pixels in [0,1]."""

    slots = 1

    def __init__(
        self,
        scores: Callable[[Tensor], Tensor],
        shape_CHW: Shape,
        num_classes: int,
        device: torch.device,
        batch: int | None,
    ) -> None:
        channels, height, width = shape_CHW
        plain = default_config(shape_CHW, "cpu")
        self.setup: EngineConfig = replace(
            plain,
            backend="eager",
            precision="float32",
            batch=batch or plain.batch,
            channels_last=False,
            folded=False,
        )
        self.num_classes = num_classes
        self.shape_BHWC = (self.setup.batch, height, width, channels)
        self.offset_CHW: Tensor | None = None
        self._scores = scores
        self._device = device
        self._classes = np.empty(0, dtype=np.int64)

    def start(self, slot: int, pixels_BHWC: Tensor) -> None:
        if torch.get_num_threads() != self.setup.threads:
            torch.set_num_threads(self.setup.threads)
        images_BCHW = pixels_BHWC.to(self._device).float().div(255).permute(0, 3, 1, 2).contiguous()
        if self.offset_CHW is not None:
            images_BCHW += self.offset_CHW.to(self._device)
        with torch.no_grad():
            scores_BK = self._scores(images_BCHW)
        if scores_BK.shape != (len(pixels_BHWC), self.num_classes):
            raise InternalError(
                f"The classifier gave scores of shape {tuple(scores_BK.shape)} for {len(pixels_BHWC)} images."
            )
        classes_B = torch.where(scores_BK.isfinite().all(dim=1), scores_BK.argmax(dim=1), NO_CLASS)
        self._classes = classes_B.cpu().numpy()

    def classes(self, slot: int) -> NDArray[np.int64]:
        return self._classes
