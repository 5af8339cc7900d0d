"""A worker's hand on the job record: its real transitions, without an engine."""

from datetime import UTC, datetime

from smoothcert.jobs.broker import connect
from smoothcert.jobs.leases import Claim, Leases
from smoothcert.jobs.workers import WorkerInfo
from smoothcert.schemas.certificate import Certificate, Engine, InputDigest, Look, ModelDigest
from smoothcert.schemas.job import Progress

ENGINE = Engine(device="cpu", backend="eager", precision="float32", batch=256)


class WorkerHand:
    """Moves jobs along as a worker does, through the same leases."""

    def __init__(self, url: str) -> None:
        self.leases = Leases(connect(url))

    def claim(self, job_id: str) -> Claim:
        claim = self.leases.claim(job_id, "hand", "cpu")
        assert isinstance(claim, Claim)
        assert claim.job_id == job_id, "another job was waiting before it"
        self.leases.pin(claim, ENGINE, "cpu", "0" * 64)
        return claim

    def progress(self, claim: Claim, samples: int, radius: float) -> None:
        self.leases.progress(claim, "{}", progress(samples, radius), certificate(claim, samples, radius))

    def finish(self, claim: Claim, radius: float = 1.5) -> None:
        self.leases.finish(claim, certificate(claim, 1000, radius), progress(1000, radius))

    def beat(self, *models: str, ready: bool = True) -> None:
        info = WorkerInfo(
            id="hand", host="here", models=list(models), started_at=datetime.now(UTC), ready=ready
        )
        self.leases.beat(info, 60)


def progress(samples: int, radius: float) -> Progress:
    return Progress(
        samples=samples, of=1000, radius=radius, predicted_class=7, counts=[0] * 7 + [samples, 0, 0]
    )


def certificate(claim: Claim, samples: int, radius: float) -> Certificate:
    asked = claim.parameters
    return Certificate(
        outcome="certified",
        procedure=asked.procedure,
        predicted_class=7,
        label="7",
        radius=radius,
        sigma=asked.sigma,
        alpha=asked.alpha,
        n0=asked.n0,
        n=samples,
        selection_counts=[0] * 7 + [asked.n0, 0, 0],
        counts=[0] * 7 + [samples, 0, 0],
        bound="one_sided",
        p_lower=0.99,
        p_upper=0.01,
        schedule=[Look(n=samples, alpha=asked.alpha)],
        target_radius=None,
        target_met=None,
        model=ModelDigest(name=claim.model, sha256="0" * 64),
        input=InputDigest(shape=(1, 28, 28), sha256="0" * 64, preprocessing=[]),
        seed=claim.seed,
        engine=ENGINE,
        issued_at=datetime.now(UTC),
    )
