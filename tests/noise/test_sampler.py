import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from smoothcert.noise.grid import BatchStream, GridNoise, noise_table
from smoothcert.noise.normal import slack
from smoothcert.noise.sampler import Sampler
from smoothcert.votes import Stage, VoteRange

SEED = 2**100 + 12345
IMAGE = np.random.default_rng(1).integers(0, 256, (3, 4, 5), dtype=np.uint8)


class LinearVoter:
    """Class 1 where w·z > b, else 0, on integers. Remembers what it was shown; any number of slots."""

    num_classes = 3

    def __init__(self, size: int, slots: int = 1, bias: int = 0) -> None:
        self.shape_BHWC = (size, 4, 5, 3)
        self.slots = slots
        self.seen: list[NDArray[np.int16]] = []
        self._bias = bias
        self._waiting: dict[int, NDArray[np.int16]] = {}

    @property
    def under_way(self) -> int:
        return len(self._waiting)

    def start(self, slot: int, pixels_BHWC: Tensor) -> None:
        assert slot not in self._waiting
        self._waiting[slot] = (
            pixels_BHWC.numpy()
        )  # not copied: the sampler must leave it alone until it is read

    def classes(self, slot: int) -> NDArray[np.int64]:
        pixels = self._waiting.pop(slot)
        self.seen.append(pixels.copy())
        return (pixels.astype(np.int64).sum(axis=(1, 2, 3)) > self._bias).astype(np.int64)


def centred(size: int = 64, slots: int = 1) -> LinearVoter:
    return LinearVoter(size, slots, bias=int(IMAGE.sum()))


def sampler(voter: LinearVoter, seed: int = SEED, sigma: float = 0.5) -> Sampler:
    return Sampler(voter, IMAGE, sigma, seed)


def votes(start: int, stop: int, stage: Stage = "estimation") -> VoteRange:
    return VoteRange(stage, start, stop)


def test_the_network_sees_exactly_image_plus_noise() -> None:
    voter = centred(size=8)
    sampler(voter).count(votes(8, 16))
    noise = torch.empty(8 * 60, dtype=torch.int16)
    GridNoise(noise_table(0.5), 8 * 60).draw(BatchStream(SEED, "estimation", 1), noise)
    exact = IMAGE.transpose(1, 2, 0).astype(object) + noise.numpy().reshape(8, 4, 5, 3).astype(object)
    assert np.array_equal(voter.seen[0].astype(object), exact)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 90),
    st.integers(1, 4),
    st.lists(st.integers(0, 400), min_size=1, max_size=8),
    st.booleans(),
)
def test_counts_add_up_however_the_votes_are_split(
    size: int, slots: int, cuts: list[int], fresh: bool
) -> None:
    bounds = [0, *sorted(cuts), 400]
    whole = sampler(centred(size)).count(votes(0, 400))
    one = sampler(centred(size, slots))
    parts = [
        (sampler(centred(size, slots)) if fresh else one).count(votes(a, b))
        for a, b in itertools.pairwise(bounds)
    ]
    assert np.array_equal(sum(parts), whole)
    assert whole.sum() == 400


def test_ranges_may_come_in_any_order() -> None:
    one = sampler(centred(slots=3))
    parts = [one.count(votes(a, a + 100)) for a in (200, 0, 300, 100)]
    assert np.array_equal(sum(parts), sampler(centred()).count(votes(0, 400)))


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(1, 90),
    slots=st.integers(1, 4),
    requests=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 100), st.integers(0, 300)), max_size=8),
)
def test_votes_that_were_expected_change_no_counts(
    size: int, slots: int, requests: list[tuple[int, int, int]]
) -> None:
    one = sampler(centred(size, slots))
    for start, length, ahead in requests:
        wanted = votes(start, start + length)
        expected = sampler(centred(size)).count(wanted)
        assert np.array_equal(one.count(wanted, until=start + length + ahead), expected)


def test_expected_votes_are_started_before_they_are_requested_and_evaluated_once() -> None:
    voter = centred(size=10, slots=3)
    one = sampler(voter)
    one.count(votes(0, 45), until=400)
    assert (len(voter.seen), voter.under_way) == (5, 3)
    one.count(votes(45, 100))
    assert (len(voter.seen), voter.under_way) == (10, 0)


def test_a_voter_that_works_one_batch_at_a_time_is_not_asked_for_more() -> None:
    voter = centred(size=10)
    sampler(voter).count(votes(0, 45), until=400)
    assert (len(voter.seen), voter.under_way) == (5, 0)


def test_a_range_that_goes_on_inside_a_batch_evaluates_it_once() -> None:
    voter = centred(size=64)
    one = sampler(voter)
    for start in range(0, 640, 10):
        one.count(votes(start, start + 10))
    assert len(voter.seen) == 10


def test_the_same_seed_gives_the_same_counts_and_others_do_not() -> None:
    counts = [tuple(sampler(centred(), seed).count(votes(0, 5000))) for seed in (SEED, SEED, *range(8))]
    assert counts[0] == counts[1]
    assert len(set(counts)) > 5


def test_selection_and_estimation_see_different_noise() -> None:
    voter = centred(size=16)
    one = sampler(voter)
    one.count(votes(0, 16, "selection"))
    one.count(votes(0, 16, "estimation"))
    assert not np.array_equal(voter.seen[0], voter.seen[1])


def test_a_linear_classifier_gets_the_votes_its_margin_predicts() -> None:
    # w = (1, ..., 1) over 60 pixels: the noise's sum is normal, deviation 255 sigma sqrt(60).
    sigma, n = 0.25, 100_000
    margin = 255 * sigma * np.sqrt(60)
    voter = LinearVoter(500, bias=int(IMAGE.sum() - margin))
    count = int(sampler(voter, sigma=sigma).count(votes(0, n))[1])
    assert stats.binomtest(count, n, stats.norm.cdf(1.0)).pvalue > 1e-4  # fixed seed: passes or does not


def test_an_empty_range_casts_no_vote() -> None:
    counts = sampler(centred()).count(votes(7, 7))
    assert counts.tolist() == [0, 0, 0]
    assert counts.dtype == np.int64


def test_an_image_of_another_shape_is_a_programmers_error() -> None:
    with pytest.raises(AssertionError):
        Sampler(centred(), np.zeros((3, 5, 4), dtype=np.uint8), 0.5, SEED)


def test_an_image_that_is_not_of_bytes_is_a_programmers_error() -> None:
    with pytest.raises(AssertionError):
        Sampler(centred(), IMAGE.astype(np.float32) / 255, 0.5, SEED)  # type: ignore[arg-type]


def test_the_sampler_states_the_slack_of_its_noise() -> None:
    assert sampler(centred()).slack == slack(0.5, 60)
