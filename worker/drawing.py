"""The votes of one task: draws ranges, merges them into the procedure's state, and delivers them."""

import time
from collections.abc import Sequence

from smoothcert.images.pixels import CertifiedImage
from smoothcert.jobs.tasks import NO_RANGE, Answer, Delivery, Pin, Task
from smoothcert.schemas.certificate import Certificate
from smoothcert.schemas.job import Forecast
from smoothcert.signing import Signer
from smoothcert.stats.certificate import build_certificate
from smoothcert.stats.forecast import forecast
from smoothcert.stats.procedure import Certification, CertificationState
from smoothcert.stats.ranges import RangeCounts, Ranges, first_range
from worker.models import Loaded


class Drawing:
    """One job's votes in one task.

    The result depends only on the job's seed and engine, not on which task draws which range.
    """

    def __init__(self, task: Task, image: CertifiedImage, loaded: Loaded, signer: Signer | None) -> None:
        self._task, self._image, self._loaded, self._signer = task, image, loaded, signer
        self._source = loaded.votes(image, task.parameters.sigma, task.seed)
        pin = task.pin
        self._ranges = Ranges(task.parameters, pin.first_votes, pin.range_votes) if pin else None
        self._waiting: dict[int, RangeCounts] = {}  # counted, but an earlier range is missing
        self._resume(task.state, task.folded)
        if task.counts:
            self._take_in({k: RangeCounts.model_validate_json(text) for k, text in task.counts.items()})
        self._drawn: tuple[int, RangeCounts] | None = None  # not delivered yet
        self._votes, self._seconds = 0, 0.0
        self.ends_at = task.ends_at
        self._expected = task.range if task.main else NO_RANGE

    def is_finished(self) -> bool:
        """Whether the procedure needs no more votes."""
        return self.certification.finished

    def is_due(self) -> bool:
        """Whether the job's deadline leaves no time for another range. Range 0 is always drawn."""
        return self._ranges is not None and time.monotonic() + self._seconds >= self.ends_at

    @property
    def seconds_left(self) -> float:
        """Estimate for this worker alone, at the speed of its last range; 0 before the first."""
        left = self._task.parameters.n - self.certification.state.estimation.drawn
        return left * self._seconds / self._votes if self._votes else 0.0

    @property
    def work(self) -> tuple[int, float]:
        """Votes drawn for the last range, and the seconds they took."""
        return self._votes, self._seconds

    def draw(self, k: int, until: float) -> None:
        """Draws range k. The first range of a job sets the size of all ranges.

        until: monotonic time from which no further range is drawn. Before it, the votes of the next range are
        started if nobody else seems to draw ranges of this job.
        """
        start = time.perf_counter()
        if self._ranges is None:
            self._ranges, counted = first_range(self._source, self._task.parameters)
        else:
            is_last = time.monotonic() + self._seconds >= until
            counted = self._ranges.count(self._source, k, ahead=k == self._expected and not is_last)
        self._expected = k + 1
        self._votes, self._seconds = counted.votes - self._ranges.start(k), time.perf_counter() - start
        self._drawn = k, counted
        self._take_in({k: counted})

    def delivery(self) -> Delivery:
        """The range drawn since the last delivery, and the merged state."""
        assert self._ranges is not None
        k, counted = self._drawn or (NO_RANGE, None)
        certification = self.certification
        return Delivery(
            pin=self.pin,
            range=k,
            counts=counted.model_dump_json() if counted else "",
            votes=self._votes if counted else 0,
            seconds=self._seconds,
            folded=self._folded,
            state=certification.state.model_dump_json(),
            progress=certification.progress.model_copy(update={"forecast": self._forecast()}),
            certificate=self.certificate() if certification.state.best else None,
        )

    def _forecast(self) -> Forecast | None:
        """By the speed of this worker's last range; None if it drew none."""
        first = self._drawn is not None and self._drawn[0] == 0
        drawn = self._votes + (self.certification.state.selection.drawn if first else 0)
        speed = drawn / self._seconds if drawn else 0.0
        return forecast(self.certification, speed, self.ends_at - time.monotonic())

    def learn(self, answer: Answer) -> None:
        """Merges state and counts that other tasks have delivered."""
        self._drawn = None
        if answer.state:
            self._resume(answer.state, answer.folded)
        self._take_in(
            {
                k: RangeCounts.model_validate_json(text)
                for k, text in enumerate(answer.counts, start=answer.folded)
            }
        )

    def certificate(self) -> Certificate:
        """The certificate of what is proved so far."""
        certificate = build_certificate(
            self.certification.result,
            self._task.parameters,
            card=self._loaded.card,
            input_digest=self._image.digest,
            seed=self._task.seed,
            engine=self._loaded.engine.description,
            out_of_time=not self.is_finished() and self.is_due(),
            asked_before=self._task.asked_before,
        )
        return self._signer.sign(certificate) if self._signer else certificate

    def _resume(self, state: str | None, folded: int) -> None:
        parameters, source = self._task.parameters, self._source
        self._folded = folded
        if state is None:
            self.certification = Certification(parameters, source.num_classes, slack=source.slack)
        else:
            saved = CertificationState.model_validate_json(state)
            self.certification = Certification.resume(
                parameters, source.num_classes, saved, slack=source.slack
            )

    def _take_in(self, counts: dict[int, RangeCounts]) -> None:
        """Merges the counts that follow the state without a gap; the others wait."""
        assert self._ranges is not None
        self._waiting |= counts
        self._waiting = {k: counted for k, counted in self._waiting.items() if k >= self._folded}
        run: Sequence[int] = range(self._folded, self._folded)
        while len(run) + self._folded in self._waiting:
            run = range(self._folded, self._folded + len(run) + 1)
        self._folded = self._ranges.merge(self.certification, self._folded, [self._waiting[k] for k in run])

    @property
    def pin(self) -> Pin:
        """The engine, weights and range size of these votes."""
        assert self._ranges is not None
        engine, weights = self._loaded.engine.description, self._loaded.classifier_sha256
        return Pin(engine, weights, self._ranges.first_votes, self._ranges.range_votes, self._ranges.total)
