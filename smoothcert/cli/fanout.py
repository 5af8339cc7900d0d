"""An evaluation by the workers of a broker, with the same rows as a local one.

Each image is a job with the seed and engine of the local run, at batch priority, so that single jobs go
first. A bounded number of jobs is submitted at once. Jobs left by a killed evaluation are found by their
idempotency keys.
"""

import hashlib
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from smoothcert.engines.config import EngineConfig
from smoothcert.errors import BrokerUnavailable, InternalError, InvalidRequest, QueueFull
from smoothcert.evaluation import row_of
from smoothcert.images.pixels import CertifiedImage
from smoothcert.jobs.broker import connect, need_no_eviction
from smoothcert.jobs.store import JobStore, Request
from smoothcert.jobs.tasks import Message, TaskPublisher
from smoothcert.schemas.card import ModelCard
from smoothcert.schemas.certificate import Certificate
from smoothcert.schemas.evaluation_run import EvaluationRun
from smoothcert.schemas.job import Job
from smoothcert.schemas.limits import image_seed
from smoothcert.schemas.parameters import Parameters
from training.datasets.image_set import ImageSet
from training.evaluation import EvaluationProgress, parameters_of

OWNER = ":evaluate"  # not a valid owner of a key, so these jobs are in no caller's list
AHEAD, AHEAD_LEAST = 4, 8  # submitted jobs: per worker, and at least
POLL = 0.1  # seconds between polls
PATIENCE = 60.0  # seconds without a broker before giving up; the jobs continue
TRIES = 3  # jobs per image, if they fail or are cancelled
PROBE = 100  # votes that show which engine the workers choose


@dataclass(frozen=True)
class Workers:
    """The workers that serve one model: the job store, and the publisher of tasks."""

    store: JobStore
    publisher: TaskPublisher
    card: ModelCard

    @classmethod
    def of(cls, url: str, card: ModelCard) -> "Workers":
        """Connect. Raises BrokerUnavailable; InvalidRequest: no live worker serves the model."""
        need_no_eviction(url)
        workers = cls(JobStore(connect(url)), TaskPublisher(url), card)
        if not workers.count():
            raise InvalidRequest(
                f"No living worker has {card.name}: start one whose SMOOTHCERT_MODELS holds that folder."
            )
        return workers

    def count(self) -> int:
        """Workers that serve the model or are loading."""
        return sum(self.card.name in (*worker.models, *worker.loading) for worker in self.store.workers())

    def send(self, request: Request, key: str) -> str:
        """Submit a job, or find the one of a killed evaluation; returns its id. Raises QueueFull."""
        for attempt in range(TRIES):
            made = self.store.submit(replace(request, idempotency_key=f"{key}/{attempt}"))
            if made.message:
                self._publish(made.message)
                return made.job_id
            (found,) = self.store.jobs([made.job_id])
            if found is not None and found.status not in ("failed", "cancelled"):
                return made.job_id
        raise InternalError(f"The workers failed {TRIES} times at one image; their logs have more.")

    def engine(self, images: ImageSet, parameters: Parameters) -> str:
        """The engine that the workers choose for this model, found by a job of PROBE votes."""
        few = Parameters(procedure="predict", n=PROBE, sigma=parameters.sigma)
        job_id = self.send(
            Request(self.card.name, few, _pixels(images, 0), OWNER, lane="batch"), _hash(time.time_ns())
        )
        while not (job := _known(self.store.jobs([job_id]))[0]).ended:
            time.sleep(POLL)
        return str(EngineConfig.of(_certificate(job, 0).engine))

    def _publish(self, message: Message) -> None:
        with suppress(BrokerUnavailable):  # the job is stored; a sweep publishes it later
            self.publisher.send(message)


class FanOut:
    """One evaluation by workers. `steps()` yields what training.evaluate.evaluate() yields locally."""

    def __init__(self, workers: Workers, images: ImageSet, run: EvaluationRun) -> None:
        self._workers, self._images, self._run = workers, images, run
        self._parameters = parameters_of(run)
        self._flying: dict[int, str] = {}  # job ids by image, in order
        self._classifier = workers.card.classifier_sha256_in(EngineConfig.parse(run.setup).precision)
        self._engine: object = None  # of the first certificate
        self._answered = time.monotonic()

    def steps(self, indices: Sequence[int]) -> Iterator[EvaluationProgress]:
        """Certify these images; rows come in their order.

        Raises InternalError: a job failed, workers have other weights or platforms, the broker is away.
        """
        rest = deque(indices)
        while rest or self._flying:
            try:
                self._fill(rest)
                jobs = self._workers.store.jobs(list(self._flying.values()))
                self._answered = time.monotonic()
            except BrokerUnavailable:
                self._wait_for_broker()
                continue
            yield from self._rows(_known(jobs))
            time.sleep(POLL)

    def _fill(self, rest: deque[int]) -> None:
        most = max(AHEAD_LEAST, AHEAD * self._workers.count())
        while rest and len(self._flying) < most:
            try:
                self._flying[rest[0]] = self._send(rest[0])
            except QueueFull:
                return
            rest.popleft()

    def _send(self, idx: int) -> str:
        """Submit one image. Its key includes the pixels, as the images of a folder may change."""
        run = self._run
        seed = image_seed(run.seed, idx)
        image = _pixels(self._images, idx)
        key = _hash(f"{run.model_dump_json()}{self._classifier}{image.digest.sha256}/{idx}")
        request = Request(
            run.model, self._parameters, image, OWNER, seed=seed, engine_config=run.setup, lane="batch"
        )
        return self._workers.send(request, key)

    def _rows(self, jobs: Sequence[Job]) -> Iterator[EvaluationProgress]:
        """Steps of the finished jobs up to the first unfinished one, and the progress of that one."""
        for idx, job in zip(list(self._flying), jobs, strict=True):
            if not job.ended:
                yield EvaluationProgress(idx, job.progress.samples, job.progress.of)
                return
            certificate = _certificate(job, idx)
            self._check(certificate, idx)
            label = int(self._images.labels[idx])
            row = row_of(certificate, self._run, idx, label, _seconds(job))
            del self._flying[idx]
            yield EvaluationProgress(idx, self._run.n, self._run.n, row)

    def _check(self, certificate: Certificate, idx: int) -> None:
        """Raises InternalError if the certificate does not match the run."""
        self._engine = self._engine or certificate.engine
        if str(EngineConfig.of(certificate.engine)) != self._run.setup or certificate.engine != self._engine:
            raise InternalError(
                f"Image {idx} was certified by {certificate.engine}, others by {self._engine}: workers on "
                "another platform are another classifier; let workers of one kind run alone."
            )
        if certificate.model.classifier_sha256 != self._classifier:
            raise InternalError(
                f"The workers have another model of the name {self._run.model} than this command."
            )
        assert certificate.seed == image_seed(self._run.seed, idx)

    def _wait_for_broker(self) -> None:
        if time.monotonic() - self._answered > PATIENCE:
            raise BrokerUnavailable
        time.sleep(POLL)


def _pixels(images: ImageSet, idx: int) -> CertifiedImage:
    pixels_CHW = images.images_u8[idx]
    channels, height, width = pixels_CHW.shape
    return CertifiedImage.of(
        pixels_CHW.numpy().tobytes(), (channels, height, width), [f"image {idx} of {images.name}"]
    )


def _known(jobs: Sequence[Job | None]) -> list[Job]:
    if None in jobs:
        raise InternalError("A job expired before it was read; --resume asks for it again.")
    return [job for job in jobs if job is not None]


def _certificate(job: Job, idx: int) -> Certificate:
    if job.certificate is None or job.status != "succeeded":
        why = job.error.detail if job.error else job.status
        raise InternalError(f"The workers did not certify image {idx}: {why}")
    return job.certificate


def _seconds(job: Job) -> float:
    assert job.started_at is not None
    assert job.finished_at is not None
    return (job.finished_at - job.started_at).total_seconds()


def _hash(value: object) -> str:
    return hashlib.sha256(str(value).encode()).hexdigest()
