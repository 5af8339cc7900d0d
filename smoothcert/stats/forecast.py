"""What to expect of a certification, estimated from its first votes (not proved); votes until a deadline."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from smoothcert.schemas.certificate import Look
from smoothcert.schemas.job import Forecast, Progress
from smoothcert.stats.bounds import most_of_others, result_of_pair
from smoothcert.stats.procedure import Certification, VoteCounts, drive
from smoothcert.stats.schedule import is_enough, optimistic_radius
from smoothcert.votes import VoteSource

FIRST_RANGE = 64  # votes, with a deadline

# Votes against the class that are assumed before the first vote. Where all votes agree, the votes that will
# not agree decide the radius. Tried on the bundled MNIST models (docs/results.md).
ASSUMED_AGAINST = 0.05


def forecast(
    certification: Certification, votes_per_second: float, seconds_left: float = math.inf
) -> Forecast | None:
    """The radius, the votes and the time to expect; None before the class is chosen and after the end.

    seconds_left: until the deadline.
    """
    drawn, n = certification.state.estimation.drawn, certification.parameters.n
    if certification.candidate is None or certification.finished or not votes_per_second > 0:
        return None
    most = min(float(n), drawn + max(0.0, seconds_left) * votes_per_second)
    votes, radius = _expected_end(certification, math.floor(most))
    is_class_only = certification.parameters.procedure == "predict"
    return Forecast(radius=None if is_class_only else radius, votes=votes, seconds=votes / votes_per_second)


def _expected_end(certification: Certification, most: int) -> tuple[int, float]:
    """The votes at which the procedure is expected to stop, `most` of them, and the best radius by then."""
    parameters, schedule = certification.parameters, certification.schedule
    expectation, proved = Expectation.of(certification), certification.result.radius
    looks = [look for look in schedule.looks if certification.state.estimation.drawn < look.n <= most]
    may_stop = parameters.target_radius is not None or parameters.tolerance is not None
    for look in looks if may_stop else looks[-1:]:
        pair = expectation.at(look)
        reached = result_of_pair(*pair, look.n, look, parameters.sigma, slack=certification.slack)
        proved = max(proved, reached.radius)
        if may_stop:
            optimistic = optimistic_radius(np.array(pair), look.n, 0, schedule.last, parameters.sigma)
            if is_enough(parameters, proved, optimistic):
                return look.n, proved
    return most, proved


@dataclass(frozen=True)
class Expectation:
    """Votes of the class and of its runner-up so far, and the shares expected of the votes to come."""

    drawn: int
    k_top: int
    k_next: int
    p_top: float
    p_next: float

    @classmethod
    def of(cls, certification: Certification) -> "Expectation":
        """From the estimation votes and, as this proves nothing, from the selection votes too."""
        state, top = certification.state, certification.candidate
        assert top is not None
        selected, estimated = _pair(state.selection, top), _pair(state.estimation, top)
        votes = _drawn(certification)
        against, second = votes - selected[0] - estimated[0], selected[1] + estimated[1]
        p_against = (against + ASSUMED_AGAINST) / (votes + ASSUMED_AGAINST)
        p_next = p_against * min(1.0, second / against) if against else p_against
        return cls(state.estimation.drawn, *estimated, 1 - p_against, p_next)

    def at(self, look: Look) -> tuple[int, int]:
        """The votes of both that are expected at a look."""
        left = look.n - self.drawn
        k_top = self.k_top + round(left * self.p_top)
        return k_top, min(self.k_next + round(left * self.p_next), look.n - k_top)


def _pair(counts: VoteCounts, top: int) -> tuple[int, int]:
    """Votes of the class, and of the strongest other one with the votes for no class."""
    counts_K = counts.counts_K
    return int(counts_K[top]), most_of_others(counts_K, top) + counts.drawn - int(counts_K.sum())


def drive_with_forecasts(
    certification: Certification, source: VoteSource, most: int, end: float | None
) -> Iterator[Progress]:
    """As `drive`, with what to expect at the speed so far. end: monotonic time of the deadline."""
    began = time.monotonic()
    steps = drive(certification, source, most) if end is None else _until(end, certification, source, most)
    for progress in steps:
        now = time.monotonic()
        speed = _drawn(certification) / max(now - began, 1e-9)
        expected = forecast(certification, speed, math.inf if end is None else end - now)
        yield progress.model_copy(update={"forecast": expected})


def _until(end: float, certification: Certification, source: VoteSource, most: int) -> Iterator[Progress]:
    """Draw votes until `end` (monotonic), in ranges that take a small part of the time left."""
    began, size, before = time.monotonic(), FIRST_RANGE, _drawn(certification)
    while (now := time.monotonic()) < end:
        votes = certification.request(size)
        if votes is None:
            return
        certification.add(votes, source.count(votes))
        yield certification.progress
        rate = (_drawn(certification) - before) / max(time.monotonic() - began, 1e-9)
        size = max(1, min(most, int(rate * (end - now) / 8)))


def _drawn(certification: Certification) -> int:
    """Votes of both stages so far."""
    return certification.state.selection.drawn + certification.state.estimation.drawn
