import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothcert.schemas.parameters import Parameters
from smoothcert.stats.chunks import Chunk, count_chunk, merge
from smoothcert.stats.procedure import Certification, drive
from smoothcert.stats.schedule import plan_for
from smoothcert.testing import KnownVotes
from smoothcert.votes import VoteRange

N = 20_000
ASKED = [
    Parameters(n=N, sigma=0.5),
    Parameters(n=N, sigma=0.5, procedure="certify"),
    Parameters(n=N, sigma=0.5, procedure="predict"),
    Parameters(n=N, sigma=0.5, tolerance=0.05),
    Parameters(n=N, sigma=0.5, target_radius=0.3),
]


def alone(parameters: Parameters, source: KnownVotes) -> Certification:
    certification = Certification(parameters, source.num_classes)
    for _ in drive(certification, source, 1000):
        pass
    return certification


def selected(parameters: Parameters, source: KnownVotes) -> Certification:
    """Up to the first estimation vote."""
    certification = Certification(parameters, source.num_classes)
    if parameters.procedure != "predict":
        votes = VoteRange("selection", 0, parameters.n0)
        certification.add(votes, source.count(votes))
    return certification


@settings(max_examples=20)
@given(
    asked=st.sampled_from(ASKED),
    cuts=st.sets(st.integers(1, N - 1), max_size=30),
    seed=st.integers(0, 2**32),
    order=st.randoms(use_true_random=False),
)
def test_parts_in_any_order_give_the_evidence_of_one_worker(
    asked: Parameters, cuts: set[int], seed: int, order: random.Random
) -> None:
    source = KnownVotes([0.75, 0.2, 0.04], seed)
    edges = [0, *sorted(cuts), N]
    spans = list(pairwise(edges))
    order.shuffle(spans)
    certification, parts = selected(asked, source), {}
    for start, stop in spans:
        parts[start] = count_chunk(source, plan_for(asked), start, stop)
        for taken in merge(certification, parts):
            del parts[taken]
    expected = alone(asked, source)
    assert certification.finished
    assert certification.state == expected.state
    assert certification.result == expected.result


def test_votes_past_a_stopping_look_are_not_counted() -> None:
    asked, source = ASKED[3], KnownVotes([0.99, 0.01])
    expected = alone(asked, source)
    stopped = expected.state.estimation.drawn
    assert stopped < N
    certification = selected(asked, source)
    merge(certification, {0: count_chunk(source, plan_for(asked), 0, N)})
    assert certification.result == expected.result
    assert certification.result.drawn == stopped


def test_a_part_waits_for_the_votes_before_it() -> None:
    asked, source = ASKED[0], KnownVotes([0.9, 0.1])
    certification = selected(asked, source)
    late = count_chunk(source, plan_for(asked), 5_000, N)
    assert merge(certification, {5_000: late}) == []
    assert merge(certification, {5_000: late, 0: count_chunk(source, plan_for(asked), 0, 5_000)}) == [
        0,
        5_000,
    ]


def test_a_part_is_cut_at_every_look_within_it() -> None:
    plan = plan_for(ASKED[0])
    part = count_chunk(KnownVotes([0.9, 0.1]), plan, 0, N)
    assert [stop for stop, _ in part.pieces] == [look.n for look in plan.looks]
    assert Chunk.model_validate_json(part.model_dump_json()) == part


def test_an_empty_part_is_a_mistake() -> None:
    with pytest.raises(AssertionError):
        count_chunk(KnownVotes([1.0]), plan_for(ASKED[0]), 5, 5)
