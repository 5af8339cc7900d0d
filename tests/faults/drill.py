"""One fault, from jobs in flight to a row of the table."""

import time
from dataclasses import dataclass
from pathlib import Path

from tests.faults.audit import Auditor, Verdict
from tests.faults.blows import Fault, Scene
from tests.faults.callers import Caller, Ledger, Traffic, image_of
from tests.faults.site import LENET, STAND_IN, Site, standing
from tests.faults.table import Row
from tests.faults.witness import drawn_again
from tests.worker.plant import eventually

LONG, SHORT = 100_000, 20_000  # votes
LOAD = {STAND_IN: (4, 6), LENET: (1, 1)}  # long and short jobs under way when the fault strikes
TRICKLE = {STAND_IN: (2000, 0.3), LENET: (100, 2.0)}  # votes of a job posted meanwhile, seconds between two
PATIENCE = 90.0  # seconds after which a job that has not ended is lost
WARM_UP = 300.0  # seconds; on a busy machine a real network takes its time


@dataclass(frozen=True)
class Blown:
    """in_flight: jobs accepted and not ended when the fault struck. recovery: seconds."""

    in_flight: int
    recovery: float


def drill(fault: Fault, folder: Path) -> Row:
    """Builds a site, loads it, breaks it, waits, and looks at what is left."""
    ledger = Ledger()
    with (
        standing(folder, fault.plan) as site,
        Caller(site.base_url, ledger) as caller,
        Caller(site.base_url, ledger) as passer_by,
    ):
        scene = Scene(site, caller, _load(site, caller))
        with Traffic(passer_by, image_of(site.plan.model), *TRICKLE[site.plan.model]):
            _half_done(site, scene.job)
            blown = _strike(fault, scene)
        ended = caller.ended(ledger.accepted.values(), PATIENCE)
        verdict = Auditor(site).verdict(set(ledger.accepted.values()), ended, scene.may_fail)
        _explain(fault, verdict, ledger)
        return _row(fault, site, ledger, verdict, blown)


def _strike(fault: Fault, scene: Scene) -> Blown:
    in_flight, blow = len(_open(scene.site, scene.caller.ledger)), fault.strike(scene)
    next(blow)
    recovery = _recovery(scene.site, scene.caller.ledger)
    for _ in blow:
        pass
    return Blown(in_flight, recovery)


def _load(site: Site, caller: Caller) -> str:
    """Long jobs first, so that they run; the first one's id."""
    long, short = LOAD[site.plan.model]
    image = image_of(site.plan.model)
    posted = [caller.post(n, image) for n in [LONG] * long + [SHORT] * short]
    assert posted[0] is not None
    return posted[0]


def _half_done(site: Site, job_id: str) -> None:
    eventually(lambda: site.store.job(job_id).progress.samples >= LONG / 2, WARM_UP)  # type: ignore[union-attr]


def _open(site: Site, ledger: Ledger) -> list[str]:
    jobs = [site.store.job(job_id) for job_id in set(ledger.accepted.values())]
    return [job.id for job in jobs if job is not None and not job.ended]


def _recovery(site: Site, ledger: Ledger) -> float:
    """Seconds until every job that was under way has got on, or ended."""
    start = time.monotonic()
    jobs = [site.store.job(job_id) for job_id in _open(site, ledger)]
    waiting = {job.id: job.progress.samples for job in jobs if job is not None and job.started_at}
    while waiting and time.monotonic() - start < PATIENCE:
        for job_id, before in list(waiting.items()):
            job = site.store.job(job_id)
            if job is None or job.ended or job.progress.samples > before:
                del waiting[job_id]
        time.sleep(0.02)
    return time.monotonic() - start


def _explain(fault: Fault, verdict: Verdict, ledger: Ledger) -> None:
    for what in ("lost", "twice", "wrong"):
        for job_id in getattr(verdict, what):
            print(f"{fault.name}: {what}: {job_id}", flush=True)
    for answer in ledger.unforeseen():
        print(f"{fault.name}: {answer}", flush=True)


def _row(fault: Fault, site: Site, ledger: Ledger, verdict: Verdict, blow: Blown) -> Row:
    again = drawn_again(site.book)
    return Row(
        fault=fault.name,
        how=fault.how,
        in_flight=blow.in_flight,
        lost=len(verdict.lost),
        twice=len(verdict.twice) + len(ledger.doubled),
        wrong=len(verdict.wrong) + len(ledger.unforeseen()),
        recovery=blow.recovery,
        again=max(again.values(), default=0),
        slowest=ledger.slowest,
    )
