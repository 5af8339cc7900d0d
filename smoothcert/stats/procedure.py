"""The certification of one image as a procedure without I/O: it asks for votes and takes counts.

`certify` is Cohen et al.'s CERTIFY: fixed n, one-sided bound, one look at the end. `anytime` looks at fixed
moments, each with its share of alpha, and may stop at any of them. `predict` is Cohen et al.'s PREDICT: a
class or an abstention and no radius. sigma and radii are l2 in pixels scaled to [0,1].
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from smoothcert.schemas.certificate import Bound, Look
from smoothcert.schemas.job import Progress
from smoothcert.schemas.parameters import Parameters, refuse_impossible
from smoothcert.stats.bounds import P_MARGIN, Reading, read_counts
from smoothcert.stats.schedule import Plan, is_enough, optimistic_radius, plan_for
from smoothcert.stats.state import CertificationState, VoteCounts
from smoothcert.votes import Counts, VoteRange, VoteSource

NOTHING = Reading(p_lower=0.0, p_upper=1.0, radius=0.0)


@dataclass(frozen=True)
class Result:
    """What is proved, with its evidence: a Certificate without model, input, seed and engine.

    n, counts: the votes at the look whose bound gives p_lower, p_upper and radius, so that all three can be
    recomputed from them and the look of that n in `schedule`. Before the first look they are the votes so
    far, which prove nothing.
    drawn: all estimation votes drawn; more than n where the last ones proved no more: drawing was cut short
    between looks, or an earlier look proved more than the last.
    For `predict`: p_lower = 0 and p_upper = 1, as nothing is claimed about probabilities; certified means
    that the class is g's with probability 1-alpha, and the radius is 0.
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
    """One image on its way to a certificate: a function of the parameters and the counts alone.

    How the votes are split into ranges doesn't matter, because only counts at looks are ever read.
    slack: total variation between the law of the drawn noise and the Gaussian's; the vote source knows it.
    Raises ImpossibleRequest, with the least n, when no outcome could certify or reach the target.
    """

    def __init__(self, parameters: Parameters, num_classes: int, *, slack: float = 0.0) -> None:
        refuse_impossible(parameters)
        self.parameters = parameters
        self.slack = slack
        self.plan: Plan = plan_for(parameters)
        self.state = CertificationState.empty(num_classes)
        self._proved = NOTHING  # at the best look

    @classmethod
    def resume(
        cls, parameters: Parameters, num_classes: int, state: CertificationState, *, slack: float = 0.0
    ) -> "Certification":
        """Go on from a stored state: the same requests and the same result as without the interruption."""
        certification = cls(parameters, num_classes, slack=slack)
        assert len(state.estimation.counts) == num_classes
        certification.state = state
        certification._proved = certification._read(state.best)
        return certification

    @property
    def candidate(self) -> int | None:
        """The class to certify, chosen by the selection votes (the lowest of equals); None until then.

        PREDICT draws no selection votes: its candidate leads the estimation votes.
        """
        if self.parameters.procedure == "predict":
            return self.state.estimation.leader
        return self.state.selection.leader if self._selected else None

    @property
    def finished(self) -> bool:
        """Whether no more votes are wanted."""
        drawn = self.state.estimation.drawn
        return drawn >= self.parameters.n or self._stops_at(self.plan.look_at(drawn))

    def request(self, most: int) -> VoteRange | None:
        """The next votes wanted, at most `most` of them and never across a look; None when finished."""
        assert most > 0
        if not self._selected:
            start = self.state.selection.drawn
            return VoteRange("selection", start, min(start + most, self.parameters.n0))
        if self.finished:
            return None
        start = self.state.estimation.drawn
        look = self.plan.next_after(start)
        assert look is not None
        return VoteRange("estimation", start, min(start + most, look.n))

    def add(self, votes: VoteRange, counts_K: Counts) -> None:
        """Take the counts of the next votes, in order, not crossing a look."""
        if votes.stage == "selection":
            assert votes.stop <= self.parameters.n0
            self.state = self.state.with_selection(self.state.selection.plus(votes, counts_K))
            return
        assert self._selected
        look = self.plan.next_after(votes.start)
        assert look is not None
        assert votes.stop <= look.n, f"{votes} crosses a look"
        tally = self.state.estimation.plus(votes, counts_K)
        best = self._best_with(tally) if tally.drawn == look.n else self.state.best
        self.state = self.state.with_estimation(tally, best)

    @property
    def result(self) -> Result:
        """What is proved so far: it holds at 1-alpha wherever the drawing is cut short."""
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
            bound=self.plan.bound,
            schedule=self.plan.looks,
            slack=self.slack,
            n=evidence.drawn,
            drawn=state.estimation.drawn,
            selection_counts=state.selection.counts,
            counts=evidence.counts,
            target_met=None if target is None else reading.radius >= target,
        )

    @property
    def progress(self) -> Progress:
        """How far it is, as the job shows it; its radius is proved already."""
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

    def _read(self, tally: VoteCounts | None) -> Reading:
        look = self.plan.look_at(tally.drawn) if tally else None
        if tally is None or look is None or self.candidate is None or self.parameters.procedure == "predict":
            return NOTHING
        sigma = self.parameters.sigma
        return read_counts(tally.counts_K, tally.drawn, self.candidate, look, sigma, slack=self.slack)

    def _best_with(self, reached: VoteCounts) -> VoteCounts:
        """Of the best look so far and the one just reached, the one that proves more; the later of equals."""
        reading = self._read(reached)
        if self.state.best and reading.radius < self._proved.radius:
            return self.state.best
        self._proved = reading
        return reached

    def _stops_at(self, look: Look | None) -> bool:
        if look is None or (self.parameters.target_radius is None and self.parameters.tolerance is None):
            return False
        return is_enough(self.parameters, self._proved.radius, self._optimistic(self.state.estimation))

    def _optimistic(self, tally: VoteCounts) -> float:
        assert self.candidate is not None
        sigma = self.parameters.sigma
        return optimistic_radius(tally.counts_K, tally.drawn, self.candidate, self.plan.last, sigma)

    def _predicts(self, tally: VoteCounts | None) -> bool:
        return (
            tally is not None
            and self.parameters.procedure == "predict"
            and predicts(tally.counts_K, tally.drawn, self.parameters.alpha, slack=self.slack)
        )


def predicts(counts_K: Counts, n: int, alpha: float, *, slack: float = 0.0) -> bool:
    """Whether the leader of n votes is g's class (Cohen et al.'s PREDICT: two-sided test of the top two).

    The votes are the estimation votes, and no others are drawn. Votes of nobody are held to be the second's.
    slack: total variation of one vote, so n times as much of all of them. The p-value is good to 1e-13.
    """
    second, first = np.sort(np.append(counts_K, 0))[-2:].tolist()
    second += n - int(counts_K.sum())
    if first <= second:
        return False
    p_value = stats.binomtest(first, first + second, 0.5).pvalue * (1 + P_MARGIN)
    return bool(p_value + n * slack <= alpha)


def drive(certification: Certification, source: VoteSource, most: int) -> Iterator[Progress]:
    """Draw until finished, at most `most` votes at a time, yielding the progress after each range."""
    while (votes := certification.request(most)) is not None:
        certification.add(votes, source.count(votes))
        yield certification.progress
