"""The certification of one image as a state machine without I/O: it requests votes and adds counts.

`certify` is CERTIFY of Cohen et al. 2019: fixed n, one-sided bound, one look at the end. `anytime` evaluates
the counts at several looks, each with its share of alpha, and may stop at any of them. `predict` is PREDICT
of Cohen et al.: a class or an abstention, no radius. sigma and radii: l2, pixels in [0,1].
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from smoothcert.schemas.certificate import Bound, Look
from smoothcert.schemas.job import Progress
from smoothcert.schemas.parameters import Parameters, refuse_impossible
from smoothcert.stats.bounds import P_MARGIN, LookResult, result_at_look
from smoothcert.stats.schedule import LookSchedule, is_enough, look_schedule, optimistic_radius
from smoothcert.votes import Counts, VoteRange, VoteSource


class VoteCounts(BaseModel):
    """Votes of one stage. drawn: their number. counts: votes per class; they sum to at most `drawn`."""

    model_config = ConfigDict(frozen=True)

    drawn: int = 0
    counts: tuple[int, ...]

    @classmethod
    def empty(cls, num_classes: int) -> "VoteCounts":
        return cls(counts=(0,) * num_classes)

    @property
    def counts_K(self) -> Counts:  # noqa: N802
        return np.array(self.counts, dtype=np.int64)

    @property
    def leader(self) -> int | None:
        """The class with the most votes (lowest index on a tie); None before the first vote."""
        return int(self.counts_K.argmax()) if self.drawn else None

    def plus(self, votes: VoteRange, counts_K: Counts) -> "VoteCounts":
        """These counts plus those of the next range, which must start at `drawn`."""
        assert votes.start == self.drawn, f"expected votes from {self.drawn}, got {votes}"
        assert len(counts_K) == len(self.counts)
        assert counts_K.min() >= 0
        assert counts_K.sum() <= votes.votes
        return VoteCounts(drawn=votes.stop, counts=tuple((self.counts_K + counts_K).tolist()))


class CertificationState(BaseModel):
    """Everything that `Certification.resume` needs.

    best: the votes at the look with the largest radius so far (the latest on a tie); None before the first
    look.
    """

    model_config = ConfigDict(frozen=True)

    selection: VoteCounts
    estimation: VoteCounts
    best: VoteCounts | None = None

    @classmethod
    def empty(cls, num_classes: int) -> "CertificationState":
        return cls(selection=VoteCounts.empty(num_classes), estimation=VoteCounts.empty(num_classes))

    def with_selection(self, counts: VoteCounts) -> "CertificationState":
        return CertificationState(selection=counts, estimation=self.estimation, best=self.best)

    def with_estimation(self, counts: VoteCounts, best: VoteCounts | None) -> "CertificationState":
        return CertificationState(selection=self.selection, estimation=counts, best=best)


NO_RESULT = LookResult(p_lower=0.0, p_upper=1.0, radius=0.0)


@dataclass(frozen=True)
class Result:
    """What is proved, with its evidence: a Certificate without model, input, seed and engine.

    n, counts: the votes at the look that gave p_lower, p_upper and radius; all three can be recomputed from
    them. Before the first look: the votes so far, which prove nothing. drawn: all estimation votes drawn. May
    exceed n: later votes did not improve the radius. For `predict`: p_lower = 0, p_upper = 1, radius = 0;
    certified means that the class is g's with probability 1-alpha.
    """

    outcome: Literal["certified", "abstained"]
    predicted_class: int | None
    radius: float
    p_lower: float
    p_upper: float
    bound: Bound
    schedule: tuple[Look, ...]
    slack: float
    n: int
    drawn: int
    selection_counts: tuple[int, ...]
    counts: tuple[int, ...]
    target_met: bool | None


class Certification:
    """The certification of one image: a function of the parameters and the counts alone.

    The split of the votes into ranges does not matter, because only the counts at looks are evaluated.
    slack: total variation between the drawn noise and the Gaussian, `VoteSource.slack`.
    Raises ImpossibleRequest, with the least n, if no outcome could certify or reach the target radius.
    """

    def __init__(self, parameters: Parameters, num_classes: int, *, slack: float = 0.0) -> None:
        refuse_impossible(parameters)
        self.parameters = parameters
        self.slack = slack
        self.schedule: LookSchedule = look_schedule(parameters)
        self.state = CertificationState.empty(num_classes)
        self._proved = NO_RESULT  # at the best look

    @classmethod
    def resume(
        cls, parameters: Parameters, num_classes: int, state: CertificationState, *, slack: float = 0.0
    ) -> "Certification":
        """Continue from a stored state, with the same requests and result as without the interruption."""
        certification = cls(parameters, num_classes, slack=slack)
        assert len(state.estimation.counts) == num_classes
        certification.state = state
        certification._proved = certification._result_at(state.best)
        return certification

    @property
    def candidate(self) -> int | None:
        """The class to certify: the leader of the selection votes (lowest index on a tie); None before that.

        PREDICT draws no selection votes: its candidate is the leader of the estimation votes.
        """
        if self.parameters.procedure == "predict":
            return self.state.estimation.leader
        return self.state.selection.leader if self._selected else None

    @property
    def finished(self) -> bool:
        """Whether no more votes are needed."""
        drawn = self.state.estimation.drawn
        return drawn >= self.parameters.n or self._stops_at(self.schedule.look_at(drawn))

    def request(self, most: int) -> VoteRange | None:
        """The next votes to draw: at most `most`, never across a look; None when finished."""
        assert most > 0
        if not self._selected:
            start = self.state.selection.drawn
            return VoteRange("selection", start, min(start + most, self.parameters.n0))
        if self.finished:
            return None
        start = self.state.estimation.drawn
        look = self.schedule.next_after(start)
        assert look is not None
        return VoteRange("estimation", start, min(start + most, look.n))

    def add(self, votes: VoteRange, counts_K: Counts) -> None:
        """Add the counts of the next votes, in order and not across a look."""
        if votes.stage == "selection":
            assert votes.stop <= self.parameters.n0
            self.state = self.state.with_selection(self.state.selection.plus(votes, counts_K))
            return
        assert self._selected
        look = self.schedule.next_after(votes.start)
        assert look is not None
        assert votes.stop <= look.n, f"{votes} crosses a look"
        counts = self.state.estimation.plus(votes, counts_K)
        best = self._best_with(counts) if counts.drawn == look.n else self.state.best
        self.state = self.state.with_estimation(counts, best)

    @property
    def result(self) -> Result:
        """What is proved so far. It holds with probability 1-alpha wherever the drawing stops."""
        state, parameters = self.state, self.parameters
        evidence = state.best or state.estimation
        reading = self._proved
        certified = reading.radius > 0 or self._predicts(state.best)
        target = parameters.target_radius if parameters.procedure != "predict" else None
        return Result(
            outcome="certified" if certified else "abstained",
            predicted_class=self.candidate if certified else None,
            radius=reading.radius,
            p_lower=reading.p_lower,
            p_upper=reading.p_upper,
            bound=self.schedule.bound,
            schedule=self.schedule.looks,
            slack=self.slack,
            n=evidence.drawn,
            drawn=state.estimation.drawn,
            selection_counts=state.selection.counts,
            counts=evidence.counts,
            target_met=None if target is None else reading.radius >= target,
        )

    @property
    def progress(self) -> Progress:
        """Progress for the job record; its radius is already proved."""
        result = self.result
        return Progress(
            samples=result.drawn,
            of=self.parameters.n,
            radius=result.radius,
            predicted_class=self.candidate,
            counts=list(self.state.estimation.counts),
        )

    @property
    def _selected(self) -> bool:
        return self.parameters.procedure == "predict" or self.state.selection.drawn >= self.parameters.n0

    def _result_at(self, counts: VoteCounts | None) -> LookResult:
        look = self.schedule.look_at(counts.drawn) if counts else None
        if counts is None or look is None or self.candidate is None or self.parameters.procedure == "predict":
            return NO_RESULT
        sigma = self.parameters.sigma
        return result_at_look(counts.counts_K, counts.drawn, self.candidate, look, sigma, slack=self.slack)

    def _best_with(self, reached: VoteCounts) -> VoteCounts:
        """The counts of the look with the larger radius: the best so far or the new one (the new one on a
        tie).
        """
        reading = self._result_at(reached)
        if self.state.best and reading.radius < self._proved.radius:
            return self.state.best
        self._proved = reading
        return reached

    def _stops_at(self, look: Look | None) -> bool:
        if look is None or (self.parameters.target_radius is None and self.parameters.tolerance is None):
            return False
        return is_enough(self.parameters, self._proved.radius, self._optimistic(self.state.estimation))

    def _optimistic(self, counts: VoteCounts) -> float:
        assert self.candidate is not None
        sigma = self.parameters.sigma
        return optimistic_radius(counts.counts_K, counts.drawn, self.candidate, self.schedule.last, sigma)

    def _predicts(self, counts: VoteCounts | None) -> bool:
        return (
            counts is not None
            and self.parameters.procedure == "predict"
            and predicts(counts.counts_K, counts.drawn, self.parameters.alpha, slack=self.slack)
        )


def predicts(counts_K: Counts, n: int, alpha: float, *, slack: float = 0.0) -> bool:
    """Whether the leader of n votes is g's class: PREDICT of Cohen et al. 2019, a two-sided test.

    Votes for no class count for the second. slack: total variation of one vote, so n times that for all of
    them. The p-value is accurate to 1e-13.
    """
    from scipy import stats  # noqa: PLC0415  # a second to load, for `predict` alone

    second, first = np.sort(np.append(counts_K, 0))[-2:].tolist()
    second += n - int(counts_K.sum())
    if first <= second:
        return False
    p_value = stats.binomtest(first, first + second, 0.5).pvalue * (1 + P_MARGIN)
    return bool(p_value + n * slack <= alpha)


def drive(certification: Certification, source: VoteSource, most: int) -> Iterator[Progress]:
    """Draw votes until finished, at most `most` at a time; yields the progress after each range."""
    while (votes := certification.request(most)) is not None:
        certification.add(votes, source.count(votes))
        yield certification.progress
