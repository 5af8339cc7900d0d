from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import nn

from smoothcert.engines.config import EngineConfig
from smoothcert.engines.engine import Engine
from smoothcert.noise.grid import device_key, noise_table
from smoothcert.votes import VoteRange

pytestmark = pytest.mark.gpu

VOTES = 10_000
CountWith = Callable[..., list[NDArray[np.int64]]]
SETUPS = [
    "cuda:eager/channels-last/folded:float32:256",
    "cuda:eager/channels-last/folded:tf32:256",
    "cuda:cuda-graph/channels-last/folded:float32:256",
    "cuda:cuda-graph/channels-last/folded:bfloat16:256",
    "cuda:cuda-graph/channels-last/folded:float16:256",
    "cuda:compile-cuda-graph/channels-last/folded:bfloat16:256",
]


@pytest.fixture
def counts(small_network: nn.Module, image_CHW: NDArray[np.uint8]) -> CountWith:
    def count(text: str, *bounds: int) -> list[NDArray[np.int64]]:
        """The counts between neighbouring bounds, from one sampler."""
        sampler = Engine(small_network, (3, 12, 12), 6, EngineConfig.parse(text)).sampler(image_CHW, 0.5, 5)
        return [sampler.count(VoteRange("estimation", a, b)) for a, b in pairwise(bounds)]

    return count


@pytest.mark.parametrize("text", SETUPS[1:])
def test_every_config_gives_nearly_the_votes_of_plain_float32(text: str, counts: CountWith) -> None:
    [expected], [found] = counts(SETUPS[0], 0, VOTES), counts(text, 0, VOTES)
    assert np.count_nonzero(expected) > 2
    assert np.abs(found - expected).sum() / 2 <= VOTES // 50


@pytest.mark.parametrize("text", SETUPS)
def test_counts_repeat_and_add_up(text: str, counts: CountWith) -> None:
    parts = counts(text, 0, 100, 1000, 1001, VOTES)
    [whole] = counts(text, 0, VOTES)
    assert np.array_equal(sum(parts), whole)
    assert whole.sum() == VOTES


def test_device_words_follow_the_exact_law() -> None:
    generator = torch.Generator(device="cuda").manual_seed(device_key(5, "estimation", 0))
    words = torch.empty(4_000_000, dtype=torch.int64, device="cuda").random_(generator=generator)
    assert int(words.min()) >= 0
    table = noise_table(0.5)
    on_device = torch.bucketize(words, torch.from_numpy(table.thresholds_T.copy()).cuda(), right=True)
    noise = on_device.cpu().numpy() + table.lowest
    assert np.array_equal(noise, table.integers(words.cpu().numpy()))
    steps = np.array([0, *table.thresholds_T.tolist(), 2**63], dtype=object)
    cells = np.diff(steps).astype(float) / 2**63
    inner = slice(-470 - table.lowest, 471 - table.lowest)
    observed = np.bincount(noise - table.lowest, minlength=len(cells))
    expected = np.append(cells[inner], 1 - cells[inner].sum()) * len(noise)
    seen = np.append(observed[inner], len(noise) - observed[inner].sum())
    assert stats.chisquare(seen, expected).pvalue > 1e-4
