"""Do forecasts come true? Radius and time expected after a job's first votes, beside what it comes to.

    smoothcert up & python -m benchmarks.forecast http://127.0.0.1:8000 --data-root data

Test images of MNIST, by every bundled model of MNIST in turn, one job at a time.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import smoothcert
from smoothcert.client import certificate_of
from smoothcert.schemas.job import Forecast, Job
from training.datasets import load_dataset

MODELS = "consistency-0.25", "consistency-0.50", "consistency-1.00", "gaussian-0.50"
PAUSE = 0.05  # seconds between two reads of a job


@dataclass(frozen=True)
class Outcome:
    """Of one job: what was expected first and last, and what it came to. seconds: from start to end."""

    first: Forecast
    last: Forecast
    radius: float
    seconds: float


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("url")
    options.add_argument("--data-root", type=Path, default=Path("data"))
    options.add_argument("--images", type=int, default=50, help="by each model")
    options.add_argument("--n", type=int, default=100_000)
    chosen = options.parse_args()
    print("| model | images | forecast | radius: median, 95 % | time: median, 95 % |")
    print("|---|--:|---|--:|--:|")
    all_outcomes: list[Outcome] = []
    with smoothcert.Client(chosen.url) as client:
        for name in (f"mnist-lenet-{part}" for part in MODELS):
            outcomes = list(_outcomes(client, name, chosen))
            all_outcomes += outcomes
            _show(name, outcomes)
    _show("all", all_outcomes)


def _outcomes(client: smoothcert.Client, model: str, chosen: argparse.Namespace) -> Iterator[Outcome]:
    images_NCHW = load_dataset("mnist", "test", chosen.data_root, download=False).images_u8.numpy()
    client.submit(images_NCHW[0], model=model, n=1000).wait()  # loads the model
    for image_CHW in images_NCHW[:: len(images_NCHW) // chosen.images][: chosen.images]:
        outcome = _outcome(client, client.submit(image_CHW, model=model, n=chosen.n).snapshot)
        if outcome:
            yield outcome


def _outcome(client: smoothcert.Client, job: Job) -> Outcome | None:
    """None if the job ended before a forecast was seen."""
    seen: list[Forecast] = []
    while not job.ended:
        time.sleep(PAUSE)
        job = client.read(job)
        seen += [job.progress.forecast] if job.progress.forecast else []
    assert job.finished_at is not None
    assert job.started_at is not None
    seconds = (job.finished_at - job.started_at).total_seconds()
    return Outcome(seen[0], seen[-1], certificate_of(job).radius, seconds) if seen else None


def _show(name: str, outcomes: list[Outcome]) -> None:
    for which in ("first", "last"):
        expected = [getattr(outcome, which) for outcome in outcomes]
        radii = [abs(one.radius - came.radius) for one, came in zip(expected, outcomes, strict=True)]
        times = [abs(one.seconds / came.seconds - 1) for one, came in zip(expected, outcomes, strict=True)]
        radius, took = (np.percentile(errors, (50, 95)) for errors in (radii, times))
        cells = f"{radius[0]:.3f}, {radius[1]:.3f} | {100 * took[0]:.0f} %, {100 * took[1]:.0f} %"
        print(f"| {name} | {len(outcomes)} | {which} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
