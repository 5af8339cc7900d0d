import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoothcert.noise.sampler import batches
from smoothcert.votes import VoteRange


@given(st.integers(0, 10_000), st.integers(0, 2_000), st.integers(1, 300))
def test_batches_cover_exactly_the_votes_asked_for(start: int, votes: int, size: int) -> None:
    found = [
        batch.index * size + row
        for batch in batches(VoteRange("estimation", start, start + votes), size)
        for row in range(batch.first, batch.last)
    ]
    assert found == list(range(start, start + votes))


def test_no_batch_is_empty() -> None:
    assert list(batches(VoteRange("selection", 256, 256), 256)) == []
    assert [b.index for b in batches(VoteRange("selection", 0, 512), 256)] == [0, 1]


@pytest.mark.parametrize(("start", "stop"), [(-1, 5), (5, 4)])
def test_votes_before_the_first_or_backwards_are_a_programmers_error(start: int, stop: int) -> None:
    with pytest.raises(AssertionError):
        list(batches(VoteRange("estimation", start, stop), 16))
