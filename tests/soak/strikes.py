"""The faults of a soak: each strikes while the worker that is hit draws votes, and what it cost is known."""

import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from smoothcert.errors import BrokerUnavailable
from smoothcert.schemas.job import Job
from tests.faults import blows
from tests.faults.blows import Blow, Scene
from tests.faults.callers import Caller
from tests.faults.site import Site
from tests.soak.load import PICTURE
from tests.worker.plant import Worker

VOTES = 50_000  # of the job that is hit: seconds of work
SPARED = "worker-2"  # none of its processes is hit by itself, so that its memory can be followed
PATIENCE = 60.0  # seconds until a worker is at work
ANY_TIME = (
    blows.kill_child,
    blows.kill_parent,
    blows.freeze_worker,
    blows.drain_worker,
    blows.cut_connections,
)
EARLY = (blows.kill_service, blows.kill_broker, blows.broker_swallows)
BITING = ("kill child", "kill parent", "freeze worker")  # these must cost attempts, or they missed


@dataclass(frozen=True)
class Strike:
    """One fault. mid_job: whether the job named was still being worked on once it had struck."""

    fault: str
    job_id: str
    mid_job: bool


class Striker:
    """Strikes by turns, in an order drawn from a fixed seed: every kind comes before one comes again."""

    def __init__(self, site: Site, caller: Caller) -> None:
        self._site, self._caller = site, caller
        self._chance = random.Random(1)
        self._bags: dict[bool, list[Callable[[Scene], Blow]]] = {True: [], False: []}
        self.strikes: list[Strike] = []

    def strike(self, early: bool) -> None:
        """One fault, and the supervisor's hand afterwards. early: it may replace service or broker."""
        job_id, victim = self._at_work()
        if victim is None:
            self.strikes.append(Strike("none: nobody was at work", job_id, mid_job=False))
            return
        blow = self._next(early)
        struck = blow(Scene(self._site, self._caller, job_id, victim=victim))
        next(struck)
        self.strikes.append(Strike(blow.__name__.replace("_", " "), job_id, self._is_open(job_id)))
        print(f"soak: {self.strikes[-1]}", file=sys.stderr, flush=True)
        for _ in struck:
            pass
        self._site.restaff()

    def _next(self, early: bool) -> Callable[[Scene], Blow]:
        bag = self._bags[early]
        if not bag:
            bag += self._chance.sample(ANY_TIME + EARLY * early, len(ANY_TIME + EARLY * early))
        return bag.pop()

    def _at_work(self) -> tuple[str, Worker | None]:
        """A job, and who works on it and may be hit. The spared worker may take the first job."""
        deadline, job_id = time.monotonic() + PATIENCE, None
        while time.monotonic() < deadline:
            job_id = self._caller.post(VOTES, PICTURE)
            worker = self._reached(job_id, deadline) if job_id else None
            if job_id and worker and worker.log.stem != SPARED:
                return job_id, worker
        return job_id or "", None

    def _reached(self, job_id: str, deadline: float) -> Worker | None:
        """Who has the job, once it has reported votes; None when it ended before that was seen."""
        while time.monotonic() < deadline and (job := self._job(job_id)) and not job.ended:
            if job.progress.samples and (worker := self._site.holder(job_id)):
                return worker
            time.sleep(0.02)
        return None

    def _is_open(self, job_id: str) -> bool:
        job = self._job(job_id)
        return job is not None and not job.ended

    def _job(self, job_id: str) -> Job | None:
        try:
            return self._site.store.job(job_id)
        except BrokerUnavailable:
            return None
