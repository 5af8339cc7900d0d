"""PyTorch on the CPU, as it stands or compiled."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from smoothcert.engines.compiling import compile_voter
from smoothcert.engines.config import EngineConfig
from smoothcert.engines.voter import ready_voter
from smoothcert.schemas.certificate import Shape


class EagerVoter:
    """A BatchVoter that classifies at once, on `setup.threads` threads."""

    slots = 1

    def __init__(self, network: nn.Module, shape_CHW: Shape, num_classes: int, setup: EngineConfig) -> None:
        channels, height, width = shape_CHW
        self.num_classes = num_classes
        self.shape_BHWC = (setup.batch, height, width, channels)
        self._threads = setup.threads
        self._run: nn.Module = ready_voter(network, setup)
        if setup.backend == "compile":
            # freezing: weights become constants, batch norm and the conversions around bf16 kernels go away.
            compile_voter(self._run, {"freezing": True})
        self._classes = np.empty(0, dtype=np.int64)
        self.start(0, torch.zeros(self.shape_BHWC, dtype=torch.int16))

    def start(self, slot: int, pixels_BHWC: Tensor) -> None:
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        with torch.no_grad():
            self._classes = self._run(pixels_BHWC).numpy()

    def classes(self, slot: int) -> NDArray[np.int64]:
        return self._classes
