import numpy as np
import pytest
from pydantic import ValidationError

from smoothcert.stats.procedure import CertificationState, VoteCounts
from smoothcert.votes import VoteRange


def test_a_tally_takes_the_next_votes_and_no_others() -> None:
    tally = VoteCounts.empty(2).plus(VoteRange("estimation", 0, 10), np.array([7, 3]))
    tally = tally.plus(VoteRange("estimation", 10, 15), np.array([0, 4]))  # one was nobody's
    assert (tally.drawn, tally.counts) == (15, (7, 7))
    for again_or_ahead in (VoteRange("estimation", 10, 15), VoteRange("estimation", 16, 20)):
        with pytest.raises(AssertionError, match="expected votes from 15"):
            tally.plus(again_or_ahead, np.array([1, 1]))


@pytest.mark.parametrize("counts", [[6, 5], [-1, 3], [5, 4, 1], [10]])
def test_counts_that_no_ten_votes_on_two_classes_can_give_are_a_programmers_error(counts: list[int]) -> None:
    with pytest.raises(AssertionError):
        VoteCounts.empty(2).plus(VoteRange("estimation", 0, 10), np.array(counts))


def test_votes_may_be_for_no_class_or_all_for_one_class() -> None:
    votes = VoteRange("estimation", 0, 10)
    assert VoteCounts.empty(2).plus(votes, np.array([0, 0])).counts == (0, 0)
    assert VoteCounts.empty(2).plus(votes, np.array([0, 10])).leader == 1


def test_no_class_leads_before_the_first_vote_and_the_lowest_index_on_a_tie() -> None:
    assert VoteCounts.empty(3).leader is None
    assert VoteCounts(drawn=1, counts=(0, 0, 1)).leader == 2
    assert VoteCounts(drawn=4, counts=(0, 2, 2)).leader == 1


def test_a_new_tally_of_one_stage_leaves_the_rest_of_the_state_alone() -> None:
    state = CertificationState.empty(2)
    chosen, drawn, best = (VoteCounts(drawn=n, counts=(n, 0)) for n in (1, 20, 10))
    state = state.with_estimation(drawn, best).with_selection(chosen)
    assert (state.selection, state.estimation, state.best) == (chosen, drawn, best)
    assert CertificationState.empty(2).best is None


def test_stored_evidence_cannot_be_edited_in_place() -> None:
    with pytest.raises(ValidationError):
        VoteCounts.empty(2).drawn = 5
    with pytest.raises(ValidationError):
        CertificationState.empty(2).best = VoteCounts.empty(2)
