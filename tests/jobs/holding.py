"""What the holder of a job does, and what it says."""

from datetime import UTC, datetime

from smoothcert.jobs.jobs import JobStore
from smoothcert.jobs.leases import Claim, Leases
from smoothcert.schemas.certificate import Certificate, Engine, InputDigest, ModelDigest
from smoothcert.schemas.job import Job, Progress

ENGINE = Engine(device="d", backend="b", precision="p", batch=1)
HALF = Progress(samples=50, of=100_000, radius=0.1, predicted_class=1, counts=[10, 40])


def certificate(seed: str) -> Certificate:
    return Certificate(
        outcome="certified",
        procedure="anytime",
        predicted_class=1,
        label="b",
        radius=0.1,
        sigma=0.5,
        alpha=0.001,
        n0=100,
        n=50,
        selection_counts=[0, 100],
        counts=[10, 40],
        bound="runner_up",
        p_lower=0.6,
        p_upper=0.3,
        schedule=[],
        target_radius=None,
        target_met=None,
        model=ModelDigest(name="m", sha256="0" * 64),
        input=InputDigest(shape=(1, 2, 2), sha256="0" * 64, preprocessing=[]),
        seed=seed,
        engine=ENGINE,
        issued_at=datetime.now(UTC),
    )


def claimed(leases: Leases, job_id: str, worker: str = "w1", platform: str = "x") -> Claim:
    claim = leases.claim(job_id, worker, platform)
    assert isinstance(claim, Claim), claim
    return claim


def look(store: JobStore, job_id: str) -> Job:
    job = store.job(job_id)
    assert job is not None
    return job
