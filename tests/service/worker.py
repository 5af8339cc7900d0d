"""A worker without an engine: its transitions on the job record are the real ones."""

from datetime import UTC, datetime

from smoothcert.jobs.broker import connect
from smoothcert.jobs.tasks import Delivery, Pin, Task
from smoothcert.jobs.votes import VoteStore
from smoothcert.jobs.workers import WorkerStatus, WorkerStore
from smoothcert.schemas.certificate import Certificate, EngineDescription, InputDigest, Look, ModelDigest
from smoothcert.schemas.job import Forecast, Progress

ENGINE = EngineDescription(device="cpu", backend="eager", precision="float32", batch=256)
RANGE_VOTES = 250


class StandInWorker:
    """Moves jobs along when a test says so."""

    def __init__(self, url: str) -> None:
        self.client = connect(url)
        self.votes = VoteStore(self.client, "stand-in", "cpu")
        self.life = WorkerStore(self.client)

    def begin(self, job_id: str) -> Task:
        """Begins the task of the job's latest message."""
        task = self.votes.begin(job_id, self._number(job_id), f"task-of-{job_id}", "first delivery")
        assert isinstance(task, Task), task
        return task

    def report(self, task: Task, samples: int, radius: float, forecast: Forecast | None = None) -> None:
        """Delivers all ranges up to `samples` estimation votes, and keeps the job."""
        folded = samples // RANGE_VOTES
        delivery = Delivery(
            pin=Pin(ENGINE, "0" * 64, RANGE_VOTES, RANGE_VOTES, task.parameters.n // RANGE_VOTES),
            range=folded - 1,
            counts="{}",
            votes=samples,
            seconds=0.25,
            folded=folded,
            state="{}",
            progress=progress(samples, radius).model_copy(update={"forecast": forecast}),
            certificate=certificate(task, samples, radius),
        )
        assert self.votes.deliver(task, delivery, models=[task.model])

    def finish(self, task: Task, radius: float = 1.5) -> None:
        assert self.votes.finish(task, certificate(task, 1000, radius), progress(1000, radius))

    def beat(self, model: str, *, loaded: bool = True) -> None:
        """A sign of life of a worker that has the model in its folder."""
        status = WorkerStatus(
            id="stand-in",
            host="here",
            models=[model] if loaded else [],
            loading=[] if loaded else [model],
            started_at=datetime.now(UTC),
            ready=loaded,
        )
        self.life.beat(status, 60)

    def _number(self, job_id: str) -> int:
        number = self.client.hget(f"{self.votes.scripts.root}:job:{job_id}", "chain")
        assert isinstance(number, bytes)
        return int(number)


def progress(samples: int, radius: float) -> Progress:
    return Progress(
        samples=samples, of=1000, radius=radius, predicted_class=7, counts=[0] * 7 + [samples, 0, 0]
    )


def certificate(task: Task, samples: int, radius: float) -> Certificate:
    asked = task.parameters
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
        model=ModelDigest(name=task.model, sha256="0" * 64),
        input=InputDigest(shape=(1, 28, 28), sha256="0" * 64, preprocessing=[]),
        seed=task.seed,
        engine=ENGINE,
        asked_before=task.asked_before,
        issued_at=datetime.now(UTC),
    )
