"""The vote sources of known answers are vote sources, and their answers are the known ones."""

from itertools import pairwise

import numpy as np
import pytest

from smoothcert.schemas.parameters import Parameters
from smoothcert.stats.procedure import Certification, drive
from smoothcert.testing import KnownVotes, LinearVotes
from smoothcert.votes import VoteRange, VoteSource

WEIGHTS = np.array([3.0, 4.0])
SOURCES = [KnownVotes([0.2, 0.5, 0.1], seed=4), LinearVotes(WEIGHTS, margin=1.0, sigma=0.5, seed=4)]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: type(source).__name__)
def test_counts_add_up_however_the_votes_are_split(source: VoteSource) -> None:
    whole = source.count(VoteRange("estimation", 0, 5000))
    cuts = [0, 1, 1023, 1025, 4096, 5000]
    chunks = [source.count(VoteRange("estimation", *pair)) for pair in pairwise(cuts)]
    np.testing.assert_array_equal(sum(chunks), whole)
    assert whole.shape == (source.num_classes,)


def test_dropped_votes_count_for_no_class() -> None:
    counts = KnownVotes([0.2, 0.5, 0.1], seed=4).count(VoteRange("estimation", 0, 100_000))
    np.testing.assert_allclose(counts / 100_000, [0.2, 0.5, 0.1], atol=0.01)


def test_selection_and_estimation_draw_different_votes() -> None:
    source = KnownVotes([0.5, 0.5])
    first, second = (source.count(VoteRange(stage, 0, 999)) for stage in ("selection", "estimation"))
    assert list(first) != list(second)


def test_a_linear_classifiers_radius_is_not_exceeded() -> None:
    source = LinearVotes(WEIGHTS, margin=1.0, sigma=0.5, seed=1)
    certification = Certification(Parameters(sigma=0.5, n=10_000), num_classes=2)
    for _ in drive(certification, source, 1000):
        pass
    assert source.true_radius == pytest.approx(0.2)
    assert 0.1 < certification.result.radius <= source.true_radius
