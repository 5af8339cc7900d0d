"""An engine of fixed speed and known vote probabilities: a real worker in everything else."""

import os
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from smoothcert.errors import InternalError
from smoothcert.schemas.card import ModelCard
from smoothcert.schemas.certificate import EngineDescription
from smoothcert.votes import Counts, VoteRange
from worker.models import RequestedEngine
from worker.settings import Settings

BLOCK = 512  # votes drawn from one stream
SPEED = float(os.environ.get("STAND_IN_SPEED", "100000"))  # votes per second
GATE = os.environ.get("STAND_IN_GATE")  # loading takes until there is a file of this name
SHARES = (0.9, 0.06, 0.04)


class StandInVotes:
    """Vote i is a function of (seed, stage, i).

    An image whose first pixel is 255 kills the process that votes on it; one with 254 is an error.
    """

    num_classes = len(SHARES)
    slack = 0.0
    at_once = BLOCK

    def __init__(self, image_CHW: NDArray[np.uint8], seed: int) -> None:
        self._first = int(image_CHW.flat[0])
        self._seed = seed

    def count(self, votes: VoteRange, until: int = 0) -> Counts:
        time.sleep(votes.votes / SPEED)
        if self._first == 255:
            os.abort()
        if self._first == 254:
            raise RuntimeError("a device-side assertion, say")
        return self.draw(votes)

    def draw(self, votes: VoteRange) -> Counts:
        """The votes, at once."""
        counts_K = np.zeros(self.num_classes, dtype=np.int64)
        for block in range(votes.start // BLOCK, (votes.stop - 1) // BLOCK + 1):
            first = max(votes.start - block * BLOCK, 0)
            last = min(votes.stop - block * BLOCK, BLOCK)
            counts_K += np.bincount(self._block(votes.stage, block)[first:last], minlength=self.num_classes)
        return counts_K

    def _block(self, stage: str, block: int) -> NDArray[np.int64]:
        generator = np.random.default_rng([self._seed, len(stage), block])
        return generator.choice(self.num_classes, size=BLOCK, p=SHARES)


class StandInEngine:
    num_classes = len(SHARES)
    slack = 0.0

    def __init__(self, device: str) -> None:
        self.description = EngineDescription(device=device, backend="stand-in", precision="none", batch=BLOCK)

    def sampler(self, image_CHW: NDArray[np.uint8], sigma: float, seed: int) -> StandInVotes:
        return StandInVotes(image_CHW, seed)


class StandIns:
    engine = StandInEngine

    def __init__(self, settings: Settings) -> None:
        self._device = os.environ.get("STAND_IN_DEVICE", "stand-in")

    def platform(self) -> str:
        return self._device

    def check(self, folder: Path, card: ModelCard) -> None:
        """Any checkpoint will do."""

    def build(self, folder: Path, card: ModelCard, requested: RequestedEngine | None) -> StandInEngine:
        device = requested if isinstance(requested, str) or requested is None else requested.device
        if device not in (None, self._device):
            raise InternalError(f"There is no {device} here.")
        while GATE and not Path(GATE).exists():
            time.sleep(0.02)
        return self.engine(self._device)
