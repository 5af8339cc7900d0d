"""A real deployment under mixed load with a fault every 30 seconds: what is lost, doubled, wrong; what grows.

.venv/bin/python -m tests.soak --minutes 20    prints Markdown; --write puts it into docs/reliability.md

Two workers with the bundled LeNet. Faults that replace service or broker come in the first third only; memory
and keys are judged over the other two, when only workers are replaced, and one of those is spared.
Records expire within the run, so that what they hold goes again. Fails when anything is not as it should be.
"""

import argparse
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from smoothcert.images.pixels import CertifiedImage
from tests.faults.callers import Caller
from tests.faults.site import LENET, Plan, Site, standing
from tests.faults.table import write
from tests.soak.footprint import Footprint, lasting
from tests.soak.load import PICTURE, Load
from tests.soak.strikes import Striker
from tests.soak.verdict import Outcome

CALLERS = 2
CALM = 20.0  # seconds at the end without a new fault
PATIENCE = 180.0  # seconds that the last jobs get to end
RECORDS = 0.2  # of the run's length is how long records are kept, and at least
LEAST = 60  # seconds


@dataclass(frozen=True)
class Length:
    """All in seconds. early: the part in which service and broker may be replaced, too."""

    whole: float
    every: float

    @property
    def early(self) -> float:
        return self.whole / 3

    @property
    def records(self) -> int:
        return max(LEAST, int(RECORDS * self.whole))


def soak(site: Site, length: Length, pause: float) -> Outcome:
    """Load, faults and looks for so long; then all that was begun ends."""
    load, followed = Load(site, pause, settled=length.records / 2), threading.Event()
    caller = Caller(site.base_url, load.ledger)
    striker, footprint, image = Striker(site, caller), Footprint(site), _image(site, caller)
    with ThreadPoolExecutor() as threads:
        running = [threads.submit(load.mix, seed) for seed in range(CALLERS)]
        running.append(threads.submit(load.follow, followed))
        try:
            _strike(striker, 0.0, length.early, length.every, early=True)
            running.append(threads.submit(footprint.follow, load.over))
            _strike(striker, length.early, length.whole, length.every, early=False)
        finally:
            load.over.set()
            _await_ends(load)
            followed.set()
        for thread in running:
            thread.result()
    return Outcome(site, length.whole / 60, load, striker.strikes, footprint, image, lasting(site.client))


def _strike(striker: Striker, since: float, until: float, every: float, *, early: bool) -> None:
    """A fault at every multiple of `every` in this part of the run, and its whole time."""
    start, blow = time.monotonic() - since, (since // every + 1) * every
    while (now := time.monotonic() - start) < until:
        if blow <= now < until - CALM * (not early):
            striker.strike(early)
            blow += every
        time.sleep(0.2)


def _await_ends(load: Load) -> None:
    """Until every job has ended."""
    deadline = time.monotonic() + PATIENCE
    while load.accepted - set(load.ended) and time.monotonic() < deadline:
        time.sleep(0.2)


def _image(site: Site, caller: Caller) -> CertifiedImage:
    """The pixels that every job is about, as the store has them of the first."""
    job_id = caller.post(200, PICTURE)
    image = site.store.image(job_id or "")
    assert image is not None
    return image


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--minutes", type=float, default=20.0)
    options.add_argument("--every", type=float, default=30.0, help="seconds between two faults")
    options.add_argument("--pause", type=float, default=1.0, help="seconds between two calls of a caller")
    options.add_argument("--write", action="store_true", help="into docs/reliability.md, too")
    chosen = options.parse_args()
    length = Length(chosen.minutes * 60, chosen.every)
    lives = {"SMOOTHCERT_RECORD_TTL": length.records, "SMOOTHCERT_UNSERVED": length.records / 2}
    plan = Plan(model=LENET, environment={name: str(seconds) for name, seconds in lives.items()})
    with tempfile.TemporaryDirectory() as folder, standing(Path(folder) / "site", plan) as site:
        outcome = soak(site, length, chosen.pause)
        text = outcome.markdown()
        print(text)
        if chosen.write:
            write(text, "soak")
        sys.exit("\n".join(outcome.faults()) or None)


if __name__ == "__main__":
    main()
