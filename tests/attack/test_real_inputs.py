"""Real pixels: the noise that a voter is shown, against the probabilities of Q(x + delta)."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn

from smoothcert.attack.pgd import DeviceVoter, RealSampler, real_voter
from smoothcert.engines.config import EngineConfig
from smoothcert.engines.engine import Engine
from smoothcert.votes import VoteRange

SEED, SIGMA, BATCH = 2**90 + 1, 0.02, 500  # sigma is 5.1 steps of the grid
PIXELS = np.array([0.25, 0.5 + 0.3 / 255, -0.1, 1.2345]).reshape(1, 2, 2)  # off the grid and out of [0,1]
SETUP = EngineConfig("cpu", "eager", "float32", 50, threads=1)


class Recorder:
    """Keeps what it was shown and always answers class 0."""

    num_classes = 2
    shape_BHWC = (BATCH, 2, 2, 1)
    slots = 1

    def __init__(self) -> None:
        self.seen: list[NDArray[np.int16]] = []

    def start(self, slot: int, pixels_BHWC: Tensor) -> None:
        self.seen.append(pixels_BHWC.numpy().copy())

    def classes(self, slot: int) -> NDArray[np.int64]:
        return np.zeros(BATCH, dtype=np.int64)


def drawn(count: int) -> NDArray[np.int16]:
    """What a network would see of `count` noisy copies, shape (count, 4)."""
    recorder = Recorder()
    RealSampler(recorder, PIXELS, SIGMA, SEED).count(VoteRange("estimation", 0, count))
    return np.concatenate(recorder.seen).reshape(count, 4)


def test_every_pixel_has_the_probabilities_of_its_own_cells() -> None:
    count = 40_000
    seen = drawn(count)
    for pixel, real in enumerate(PIXELS.reshape(-1)):
        centre = round(255 * real)
        edges = np.arange(centre - 12, centre + 13) + 0.5  # cells, and all beyond them as two more
        cumulative = stats.norm.cdf((edges - 255 * real) / (255 * SIGMA))
        expected = count * np.diff(np.concatenate([[0.0], cumulative, [1.0]]))
        found = np.bincount(np.searchsorted(edges, seen[:, pixel]), minlength=len(expected))
        # A right sampler fails one time in 10 000 at each pixel; the seed is fixed.
        assert stats.chisquare(found, expected).pvalue > 1e-4
        # The test sees a shift of a quarter of a step: what rounding x first would do here.
        moved = stats.norm.cdf((edges + 0.25 - 255 * real) / (255 * SIGMA))
        wrong = count * np.diff(np.concatenate([[0.0], moved, [1.0]]))
        assert stats.chisquare(found, wrong).pvalue < 1e-6


def test_pixels_are_drawn_independently() -> None:
    correlations = np.corrcoef(drawn(20_000).T)
    assert np.abs(correlations[~np.eye(4, dtype=bool)]).max() < 0.03  # 4 standard deviations


def test_on_the_grid_the_votes_are_those_of_the_engine(
    small_network: nn.Module, image_CHW: NDArray[np.uint8]
) -> None:
    votes = VoteRange("estimation", 0, 4000)
    exact = Engine(small_network, (3, 12, 12), 6, SETUP).sampler(image_CHW, 0.5, SEED).count(votes)
    voter = real_voter(small_network, (3, 12, 12), 6, SETUP)
    real = RealSampler(voter, image_CHW / 255, 0.5, SEED).count(votes)
    seen = (exact + real) > 0
    assert seen.sum() > 2
    # Other draws of the same law: differs by chance one time in 10 000; the seeds are fixed.
    assert stats.chi2_contingency(np.stack([exact, real])[:, seen]).pvalue > 1e-4


def test_counts_repeat_add_up_and_see_a_change_smaller_than_a_step(
    small_network: nn.Module, image_CHW: NDArray[np.uint8]
) -> None:
    voter = real_voter(small_network, (3, 12, 12), 6, SETUP)

    def count(image_CHW: NDArray[np.float64], start: int, stop: int) -> NDArray[np.int64]:
        return RealSampler(voter, image_CHW, 0.1, SEED).count(VoteRange("estimation", start, stop))

    real = image_CHW / 255
    assert np.array_equal(count(real, 0, 130) + count(real, 130, 1000), count(real, 0, 1000))
    assert not np.array_equal(count(real + 0.4 / 255, 0, 1000), count(real, 0, 1000))


def test_a_cuda_config_asks_the_same_network(small_network: nn.Module) -> None:
    """The voter for devices, on the CPU: the same classes as the CPU's own."""
    pixels_BHWC = torch.randint(-255, 510, (50, 12, 12, 3), dtype=torch.int16)
    there = DeviceVoter(
        small_network, (3, 12, 12), 6, EngineConfig("cuda", "eager", "float32", 50), device="cpu"
    )
    here = real_voter(small_network, (3, 12, 12), 6, SETUP)
    for voter in (there, here):
        voter.start(0, pixels_BHWC)
    assert np.array_equal(there.classes(0), here.classes(0))


def test_an_impossible_config_raises_invalid_request(small_network: nn.Module) -> None:
    with pytest.raises(ValueError, match="cuda-graph"):
        real_voter(small_network, (3, 12, 12), 6, EngineConfig("cpu", "cuda-graph", "float32", 50, threads=1))
