from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothcert.errors import ImpossibleRequest
from smoothcert.schemas.parameters import ProcedureName
from smoothcert.stats.bounds import result_at_look
from smoothcert.stats.procedure import Certification, CertificationState, VoteCounts, drive
from smoothcert.stats.schedule import look_schedule
from smoothcert.testing import KnownVotes
from smoothcert.votes import VoteRange
from tests.support.certifying import SURE, asked, certify

HARD = [0.48, 0.45, 0.07]


class TestCertify:
    def test_it_reads_n_fresh_votes_once_with_the_one_sided_bound(self) -> None:
        result = certify(asked(procedure="certify"), SURE)
        counts_K = np.array(result.counts)
        (look,) = result.schedule
        reading = result_at_look(counts_K, 5000, 1, look, 0.5)
        assert (result.outcome, result.predicted_class) == ("certified", 1)
        assert (result.radius, result.p_lower) == (reading.radius, reading.p_lower)
        assert result.n == result.drawn == counts_K.sum() == 5000
        assert sum(result.selection_counts) == 100

    def test_it_abstains_where_the_classes_are_too_close(self) -> None:
        result = certify(asked(procedure="certify"), HARD)
        assert (result.outcome, result.predicted_class, result.radius) == ("abstained", None, 0)
        assert 0 < result.p_lower < result.p_upper

    def test_the_class_is_chosen_by_the_selection_votes_alone(self) -> None:
        certification = Certification(asked(procedure="certify"), 3)
        certification.add(VoteRange("selection", 0, 100), np.array([60, 40, 0]))
        certification.add(VoteRange("estimation", 0, 5000), np.array([0, 5000, 0]))
        assert certification.candidate == 0
        assert certification.result.outcome == "abstained"


class TestAnytime:
    def test_without_a_wish_to_stop_it_draws_all_votes(self) -> None:
        result = certify(asked(), SURE)
        assert result.n == result.drawn == 5000
        assert result.bound == "runner_up"

    def test_it_certifies_where_the_one_sided_bound_abstains(self) -> None:
        spread = [0.45, 0.2, 0.2, 0.15]
        assert certify(asked(procedure="certify"), spread).outcome == "abstained"
        assert certify(asked(), spread).radius > 0.1

    def test_the_proved_radius_never_shrinks_on_the_way(self) -> None:
        source = KnownVotes([0.7, 0.3], seed=4)
        certification = Certification(asked(), 2)
        radii = [progress.radius or 0.0 for progress in drive(certification, source, 100)]
        assert all(before <= after for before, after in pairwise(radii))
        assert radii[-1] > radii[len(radii) // 4] > 0

    def test_a_cancelled_job_keeps_what_was_proved_at_its_best_look(self) -> None:
        certification = Certification(asked(), 2)
        source, votes = KnownVotes([0.9, 0.1]), VoteRange("selection", 0, 0)
        while votes.stage == "selection" or votes.stop < 1500:
            wanted = certification.request(700)
            assert wanted is not None
            votes = wanted
            certification.add(votes, source.count(votes))
        certification.add(VoteRange("estimation", votes.stop, votes.stop + 1), np.array([1, 0]))
        result = certification.result
        assert result.drawn == votes.stop + 1
        assert result.n in [look.n for look in result.schedule]
        assert sum(result.counts) == result.n < result.drawn
        assert result.radius > 0.3

    def test_before_the_first_look_nothing_is_claimed(self) -> None:
        certification = Certification(asked(target_radius=0.1), 2)
        assert certification.result.outcome == "abstained"
        assert certification.result.target_met is False
        certification.add(VoteRange("selection", 0, 100), np.array([100, 0]))
        certification.add(VoteRange("estimation", 0, 50), np.array([50, 0]))
        result = certification.result
        assert (result.p_lower, result.p_upper, result.radius) == (0, 1, 0)
        assert (result.n, result.counts) == (50, (50, 0))

    def test_of_equal_looks_the_later_is_reported(self) -> None:
        result = certify(asked(), [0.32, 0.34, 0.34])
        assert result.outcome == "abstained"
        assert result.n == 5000


class TestTarget:
    def test_it_stops_at_the_first_look_that_proves_the_target(self) -> None:
        result = certify(asked(target_radius=0.3), SURE)
        assert result.target_met is True
        assert result.radius >= 0.3
        assert result.drawn < 300

    def test_it_stops_when_the_target_is_hopeless_and_keeps_what_is_proved(self) -> None:
        result = certify(asked(n=100_000, target_radius=1.0), SURE)
        assert result.target_met is False
        assert 0 < result.radius < 1.0
        assert result.outcome == "certified"
        assert result.drawn < 3000

    def test_a_close_call_is_drawn_out_to_n(self) -> None:
        full = certify(asked(), SURE).radius
        result = certify(asked(target_radius=full), SURE)
        assert result.drawn > 2500

    def test_fixed_n_procedures_say_whether_it_was_met(self) -> None:
        assert certify(asked(procedure="certify", target_radius=0.3), SURE).target_met is True
        assert certify(asked(procedure="certify", target_radius=0.9), SURE).target_met is False

    def test_a_target_that_is_just_reached_is_met(self) -> None:
        radius = certify(asked(procedure="certify"), SURE).radius
        assert certify(asked(procedure="certify", target_radius=radius), SURE).target_met is True

    def test_it_stops_at_looks_only_however_the_votes_between_them_fall(self) -> None:
        certification = Certification(asked(target_radius=0.5), 2)
        first, second = (look.n for look in certification.schedule.looks[:2])
        certification.add(VoteRange("selection", 0, 100), np.array([100, 0]))
        certification.add(VoteRange("estimation", 0, first), np.array([80, first - 80]))
        certification.add(VoteRange("estimation", first, second - 1), np.array([0, second - 1 - first]))
        assert not certification.finished  # hopeless by now
        certification.add(VoteRange("estimation", second - 1, second), np.array([0, 1]))
        assert certification.finished


class TestTolerance:
    @pytest.mark.parametrize("top", [0.6, 0.8, 0.95, 0.999])
    def test_no_more_than_the_tolerated_share_of_the_full_radius_is_missing(self, top: float) -> None:
        probabilities, wish = [top, 1 - top], asked(n=100_000, tolerance=0.1)
        result = certify(wish, probabilities, most=10_000)
        counts_K = KnownVotes(probabilities).count(VoteRange("estimation", 0, 100_000))
        full = result_at_look(counts_K, 100_000, 0, look_schedule(wish).last, 0.5).radius
        assert result.drawn < 90_000
        assert 0.9 * full <= result.radius < full

    def test_more_tolerance_needs_fewer_votes(self) -> None:
        drawn = [certify(asked(n=50_000, tolerance=share), SURE).drawn for share in (0.02, 0.1, 0.3)]
        assert drawn[0] > drawn[1] > drawn[2]

    def test_an_image_that_could_never_be_certified_is_given_up_early(self) -> None:
        certification = Certification(asked(n=100_000, tolerance=0.05), 2)
        source = KnownVotes([0.4, 0.6])
        certification.add(VoteRange("selection", 0, 100), np.array([100, 0]))  # chose the wrong class
        for _ in drive(certification, source, 1000):
            pass
        assert certification.result.outcome == "abstained"
        assert certification.result.drawn < 2000


class TestRequests:
    def test_selection_comes_first_then_estimation_from_its_own_stream(self) -> None:
        certification = Certification(asked(procedure="certify", n0=30), 2)
        assert certification.request(20) == VoteRange("selection", 0, 20)
        certification.add(VoteRange("selection", 0, 20), np.array([20, 0]))
        assert certification.candidate is None
        assert certification.request(20) == VoteRange("selection", 20, 30)
        certification.add(VoteRange("selection", 20, 30), np.array([0, 10]))
        assert certification.candidate == 0
        assert certification.request(20) == VoteRange("estimation", 0, 20)

    @given(st.integers(1, 4000))
    def test_no_range_crosses_a_look_or_is_larger_than_asked(self, most: int) -> None:
        certification = Certification(asked(n=2000), 2)
        looks = [look.n for look in certification.schedule.looks]
        while (votes := certification.request(most)) is not None:
            assert 0 < votes.votes <= most
            if votes.stage == "estimation":
                assert not any(votes.start < n < votes.stop for n in looks)
            certification.add(votes, np.array([votes.votes, 0]))
        assert certification.finished
        assert certification.state.estimation.drawn == 2000

    def test_the_progress_shows_votes_and_the_radius_proved(self) -> None:
        last = list(drive(Certification(asked(), 3), KnownVotes(SURE), 500))[-1]
        assert (last.samples, last.of, last.predicted_class) == (5000, 5000, 1)
        assert last.radius == certify(asked(), SURE).radius
        assert tuple(last.counts or ()) == certify(asked(), SURE).counts

    def test_counts_out_of_order_are_a_programmers_error(self) -> None:
        certification = Certification(asked(), 2)
        with pytest.raises(AssertionError):
            certification.request(0)
        with pytest.raises(AssertionError):
            certification.add(VoteRange("selection", 10, 20), np.array([10, 0]))
        with pytest.raises(AssertionError):
            certification.add(VoteRange("estimation", 0, 10), np.array([10, 0]))
        with pytest.raises(AssertionError):
            certification.add(VoteRange("selection", 0, 10), np.array([11, 0]))
        with pytest.raises(AssertionError):
            certification.add(VoteRange("selection", 0, 101), np.array([101, 0]))

    def test_votes_that_cross_a_look_are_a_programmers_error(self) -> None:
        certification = Certification(asked(), 2)
        certification.add(VoteRange("selection", 0, 100), np.array([100, 0]))
        first = certification.schedule.looks[0].n
        with pytest.raises(AssertionError, match="crosses a look"):
            certification.add(VoteRange("estimation", 0, first + 1), np.array([first + 1, 0]))

    def test_evidence_about_other_classes_cannot_be_resumed(self) -> None:
        with pytest.raises(AssertionError):
            Certification.resume(asked(), 3, CertificationState.empty(2))

    def test_counts_may_sum_to_less_than_the_votes_drawn(self) -> None:
        result = certify(asked(procedure="certify"), [0.9, 0.05])
        assert sum(result.counts) < result.n == 5000


@pytest.mark.parametrize("procedure", ["anytime", "certify", "predict"])
@pytest.mark.parametrize("wish", [{}, {"target_radius": 0.5}, {"tolerance": 0.1}])
class TestDeterminism:
    def test_the_split_into_ranges_changes_nothing(
        self, procedure: ProcedureName, wish: dict[str, float]
    ) -> None:
        results = {certify(asked(procedure=procedure, **wish), SURE, most=most) for most in (37, 1000, 9999)}
        assert len(results) == 1

    def test_a_resumed_certification_ends_like_an_undisturbed_one(
        self, procedure: ProcedureName, wish: dict[str, float]
    ) -> None:
        parameters, source = asked(procedure=procedure, **wish), KnownVotes(SURE)
        undisturbed = Certification(parameters, 3, slack=1e-5)
        stored = undisturbed.state.model_dump_json()
        for _ in drive(undisturbed, source, 1000):
            pass
        while True:  # every range is counted by a new process that knows only the stored state
            resumed = Certification.resume(
                parameters, 3, CertificationState.model_validate_json(stored), slack=1e-5
            )
            votes = resumed.request(90)
            if votes is None:
                break
            resumed.add(votes, source.count(votes))
            stored = resumed.state.model_dump_json()
        assert resumed.result == undisturbed.result
        assert Certification.resume(parameters, 3, resumed.state).result == certify(parameters, SURE)


def test_a_stored_best_look_that_is_none_of_the_plans_proves_nothing() -> None:
    """As after an upgrade that looks at other moments: what was read there had no share of alpha."""
    votes = VoteCounts(drawn=123, counts=(123, 0))
    state = CertificationState(selection=VoteCounts(drawn=100, counts=(100, 0)), estimation=votes, best=votes)
    resumed = Certification.resume(asked(), 2, state)
    assert (resumed.result.outcome, resumed.result.radius, resumed.result.p_lower) == ("abstained", 0, 0)


def test_the_result_counts_what_the_noise_lacks_of_a_gaussian() -> None:
    parameters, votes = asked(procedure="certify"), KnownVotes(SURE)
    sound = Certification(parameters, 3, slack=1e-3)
    for _ in drive(sound, votes, 5000):
        pass
    naive = certify(parameters, SURE)
    assert sound.result.p_lower == pytest.approx(naive.p_lower - 1e-3, abs=1e-12)
    assert sound.result.radius < naive.radius
    assert replace(sound.result, slack=0.0).counts == naive.counts


@settings(max_examples=25)
@given(st.integers(1, 9), st.sampled_from(["anytime", "certify"]))
def test_a_request_that_can_never_certify_names_the_least_n(n: int, procedure: ProcedureName) -> None:
    with pytest.raises(ImpossibleRequest, match="the least n is 10") as raised:
        Certification(asked(n=n, procedure=procedure), 2)
    assert raised.value.least_n == 10


def test_a_target_beyond_what_n_votes_can_prove_names_the_least_n() -> None:
    with pytest.raises(ImpossibleRequest, match=r"prove radius 1\.9") as raised:
        Certification(asked(target_radius=1.9), 2)
    assert raised.value.least_n is not None
    Certification(asked(target_radius=1.9, n=raised.value.least_n), 2)
