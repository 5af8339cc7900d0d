"""Do forecasts come true? Radius and time expected after a job's first votes, beside what it comes to.

    smoothcert up & python -m benchmarks.forecast --url http://127.0.0.1:8000 --data-root data
    python -m benchmarks.forecast --log docs/results/mnist-lenet-consistency-0.50.tsv ...

Against a service: test images of MNIST, by every bundled model of MNIST in turn, one job at a time. With logs
of evaluations: the votes that they counted, in random order; radii only.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import smoothcert
from smoothcert.client import certificate_of
from smoothcert.schemas.evaluation_log import Row, read_log
from smoothcert.schemas.job import Forecast, Job, Progress
from smoothcert.schemas.parameters import Parameters
from smoothcert.stats.forecast import forecast
from smoothcert.stats.procedure import Certification, drive
from smoothcert.votes import Counts, VoteRange
from training.datasets import load_dataset

MODELS = "consistency-0.25", "consistency-0.50", "consistency-1.00", "gaussian-0.50"
PAUSE = 0.05  # seconds between two reads of a job


@dataclass(frozen=True)
class Outcome:
    """Of one job: what was expected first, and after a tenth of the votes; and what it came to.

    seconds: from start to end; None if it was not timed.
    """

    first: Forecast
    later: Forecast
    radius: float
    seconds: float | None


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--url")
    options.add_argument("--log", type=Path, nargs="+", default=[])
    options.add_argument("--first", type=int, default=1700, help="votes of the first forecast, with --log")
    options.add_argument("--data-root", type=Path, default=Path("data"))
    options.add_argument("--images", type=int, default=50, help="by each model")
    options.add_argument("--n", type=int, default=100_000)
    chosen = options.parse_args()
    print("| model | images | forecast | radius: median, 95 % | time: median, 95 % |")
    print("|---|--:|---|--:|--:|")
    all_outcomes: list[Outcome] = []
    for name, outcomes in _by_model(chosen):
        all_outcomes += outcomes
        _show(name, outcomes)
    _show("all", all_outcomes)


def _by_model(chosen: argparse.Namespace) -> Iterator[tuple[str, list[Outcome]]]:
    for log in chosen.log:
        yield log.stem, [_redrawn(row, chosen.first) for row in read_log(log).rows if row.evidence]
    if chosen.url:
        with smoothcert.Client(chosen.url) as client:
            for name in (f"mnist-lenet-{part}" for part in MODELS):
                yield name, list(_outcomes(client, name, chosen))


class RecordedVotes:
    """The votes that a log counted, in random order."""

    slack = 0.0

    def __init__(self, row: Row) -> None:
        assert row.evidence is not None
        counts_K = np.array(row.evidence.counts)
        self.num_classes = len(counts_K)
        self._winner = int(counts_K.argmax()) if row.predict < 0 else row.predict
        self._votes = np.repeat(np.arange(self.num_classes), counts_K)
        np.random.default_rng(row.idx).shuffle(self._votes)

    def count(self, votes: VoteRange) -> Counts:
        drawn = self._votes[votes.start : votes.stop]
        if votes.stage == "selection":
            drawn = np.full(votes.votes, self._winner)
        return np.bincount(drawn, minlength=self.num_classes)


def _redrawn(row: Row, first: int) -> Outcome:
    assert row.evidence is not None
    source = RecordedVotes(row)
    parameters = Parameters(n=row.evidence.n, n0=row.evidence.n0, sigma=row.evidence.sigma)
    certification = Certification(parameters, source.num_classes)
    seen = [
        progress.model_copy(update={"forecast": forecast(certification, 1.0)})
        for progress in drive(certification, source, first)
        if progress.samples >= first and not certification.finished
    ]
    return Outcome(*_two_of(seen), certification.result.radius, None)


def _outcomes(client: smoothcert.Client, model: str, chosen: argparse.Namespace) -> Iterator[Outcome]:
    images_NCHW = load_dataset("mnist", "test", chosen.data_root, download=False).images_u8.numpy()
    client.submit(images_NCHW[0], model=model, n=1000).wait()  # loads the model
    for image_CHW in images_NCHW[:: len(images_NCHW) // chosen.images][: chosen.images]:
        outcome = _outcome(client, client.submit(image_CHW, model=model, n=chosen.n).snapshot)
        if outcome:
            yield outcome


def _outcome(client: smoothcert.Client, job: Job) -> Outcome | None:
    """None if the job ended before a forecast was seen."""
    seen: list[Progress] = []
    while not job.ended:
        time.sleep(PAUSE)
        job = client.read(job)
        seen += [job.progress] if job.progress.forecast else []
    assert job.finished_at is not None
    assert job.started_at is not None
    seconds = (job.finished_at - job.started_at).total_seconds()
    return Outcome(*_two_of(seen), certificate_of(job).radius, seconds) if seen else None


def _two_of(seen: list[Progress]) -> tuple[Forecast, Forecast]:
    later = next((progress for progress in seen if progress.samples >= progress.of / 10), seen[-1])
    assert seen[0].forecast
    assert later.forecast
    return seen[0].forecast, later.forecast


def _show(name: str, outcomes: list[Outcome]) -> None:
    for which, label in (("first", "first"), ("later", "at a tenth of the votes")):
        expected = [getattr(outcome, which) for outcome in outcomes]
        pairs = list(zip(expected, outcomes, strict=True))
        radii = [abs(one.radius - came.radius) for one, came in pairs]
        times = [100 * abs(one.seconds / came.seconds - 1) for one, came in pairs if came.seconds]
        cells = [_median_and_95(radii, "{:.3f}"), _median_and_95(times, "{:.0f} %") if times else "-"]
        print(f"| {name} | {len(outcomes)} | {label} | {' | '.join(cells)} |", flush=True)


def _median_and_95(errors: list[float], shape: str) -> str:
    return ", ".join(shape.format(error) for error in np.percentile(errors, (50, 95)))


if __name__ == "__main__":
    main()
