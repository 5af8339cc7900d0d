"""The stand-in's engines with votes from the product's own sampler, over a voter that keeps several batches
under way: a fault that makes the sampler count a vote twice, or none, shows in the counts."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from torch import Tensor

from smoothcert.noise.sampler import Sampler
from smoothcert.votes import Counts, VoteRange
from tests.worker.stand_in import BLOCK, SHARES, StandInEngine, StandIns, StandInVotes

SLOTS = 3


class BlockVoter:
    """A BatchVoter whose answers depend on the brightness of the noisy image and have the stand-in's shares.

    Like OpenVINO's, it reads the pixels only after `start` has returned.
    """

    num_classes = len(SHARES)
    slots = SLOTS

    def __init__(self, image_CHW: NDArray[np.uint8], sigma: float) -> None:
        channels, height, width = image_CHW.shape
        self.shape_BHWC = (BLOCK, height, width, channels)
        deviation = 255 * sigma * np.sqrt(image_CHW.size)
        self._limits = int(image_CHW.sum()) + deviation * norm.ppf(np.cumsum(SHARES)[:-1])
        self._started: dict[int, NDArray[np.int16]] = {}

    def start(self, slot: int, pixels_BHWC: Tensor) -> None:
        assert slot not in self._started, "a batch was lost"
        self._started[slot] = pixels_BHWC.numpy()

    def classes(self, slot: int) -> NDArray[np.int64]:
        sums_B = self._started.pop(slot).sum(axis=(1, 2, 3), dtype=np.int64)
        return np.searchsorted(self._limits, sums_B).astype(np.int64)


class SampledVotes(StandInVotes):
    """One image's votes, as slow as the stand-in's; `draw` casts them at once."""

    at_once = SLOTS * BLOCK

    def __init__(self, image_CHW: NDArray[np.uint8], sigma: float, seed: int) -> None:
        super().__init__(image_CHW, seed)
        self._sampler = Sampler(BlockVoter(image_CHW, sigma), image_CHW, sigma, seed)
        self.slack = self._sampler.slack

    def draw(self, votes: VoteRange) -> Counts:
        return self._sampler.count(votes)


class SampledEngine(StandInEngine):
    def sampler(self, image_CHW: NDArray[np.uint8], sigma: float, seed: int) -> SampledVotes:
        return SampledVotes(image_CHW, sigma, seed)


class SampledStandIns(StandIns):
    """What SMOOTHCERT_ENGINES, or the witness, names."""

    engine = SampledEngine
