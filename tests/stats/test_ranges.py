import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothcert.schemas.parameters import Parameters
from smoothcert.stats import ranges as ranges_module
from smoothcert.stats.procedure import Certification, drive
from smoothcert.stats.ranges import BATCHES_EACH, RangeCounts, Ranges, first_range
from smoothcert.stats.schedule import look_schedule
from smoothcert.testing import KnownVotes
from smoothcert.votes import Counts, VoteRange

N = 20_000
REQUESTS = [
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


@settings(max_examples=30)
@given(
    parameters=st.sampled_from(REQUESTS),
    first_votes=st.integers(500, N),
    range_votes=st.integers(1000, N + 5000),
    seed=st.integers(0, 2**32),
    order=st.randoms(use_true_random=False),
)
def test_ranges_counted_in_any_order_give_the_evidence_of_one_worker(
    parameters: Parameters, first_votes: int, range_votes: int, seed: int, order: random.Random
) -> None:
    source = KnownVotes([0.75, 0.2, 0.04], seed)
    ranges = Ranges(parameters, first_votes, range_votes)
    numbers = list(range(ranges.total))
    order.shuffle(numbers)
    certification, folded, waiting = Certification(parameters, source.num_classes), 0, {}
    for k in numbers:
        waiting[k] = RangeCounts.model_validate_json(ranges.count(source, k).model_dump_json())
        while folded in waiting:
            folded = ranges.merge(certification, folded, [waiting[folded]])
    expected = alone(parameters, source)
    assert folded == ranges.total
    assert certification.finished
    assert certification.state == expected.state
    assert certification.result == expected.result


def test_votes_past_a_stopping_look_are_not_counted() -> None:
    parameters, source = REQUESTS[3], KnownVotes([0.99, 0.01])
    expected = alone(parameters, source)
    assert expected.state.estimation.drawn < N
    certification, ranges = Certification(parameters, source.num_classes), Ranges(parameters, N, N)
    ranges.merge(certification, 0, [ranges.count(source, 0)])
    assert certification.result == expected.result


def test_a_range_is_cut_at_every_look_within_it() -> None:
    counted = Ranges(REQUESTS[0], N, N).count(KnownVotes([0.9, 0.1]), 0)
    assert [stop for stop, _ in counted.pieces] == [look.n for look in look_schedule(REQUESTS[0]).looks]
    assert counted.votes == N


STEP = 4 * BATCHES_EACH  # votes between two looks at the clock


@pytest.mark.parametrize(
    ("seconds_each", "n", "first", "others"),
    [
        (0.0, N, N, N),  # a quick engine: all in one
        (1.0, N, STEP, STEP),  # a slow one: several batches for every stream, however long they take
        (0.05, 10_000_000, 2 * STEP, 10 * STEP),  # half a second
    ],
)
def test_the_first_range_decides_how_large_the_others_are(
    monkeypatch: pytest.MonkeyPatch, seconds_each: float, n: int, first: int, others: int
) -> None:
    class Slow(KnownVotes):
        clock = 0.0

        at_once = 4

        def count(self, votes: VoteRange, until: int = 0) -> Counts:
            Slow.clock += seconds_each
            return super().count(votes)

    monkeypatch.setattr(ranges_module.time, "monotonic", lambda: Slow.clock)
    parameters = Parameters(n=n, sigma=0.5, procedure="certify")
    ranges, counted = first_range(Slow([0.9, 0.1]), parameters)
    assert ranges.first_votes == counted.votes == first
    assert min(ranges.range_votes, n) == min(others, n)
    assert ranges.start(ranges.total - 1) < n <= ranges.start(ranges.total) or ranges.total == 1
    assert sum(sum(counts) for _, counts in counted.pieces) == first
    assert counted.selection is not None
    assert sum(counted.selection) == parameters.n0
