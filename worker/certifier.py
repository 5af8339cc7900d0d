"""Runs one task from start to end, in the child: only it loads models and uses the device."""

import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import redis
import structlog
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_fixed

from smoothcert.errors import BadCheckpoint, BrokerUnavailable, InternalError, InvalidRequest, SmoothCertError
from smoothcert.images.pixels import CertifiedImage
from smoothcert.jobs.broker import connect
from smoothcert.jobs.keys import platform_queue
from smoothcert.jobs.store import JobStore
from smoothcert.jobs.tasks import HELPER, NO_RANGE, Answer, Delivery, Message, Task, TaskPublisher
from smoothcert.jobs.votes import VoteStore
from smoothcert.schemas.job import Problem
from smoothcert.signing import Signer
from worker.drawing import Drawing
from worker.models import EngineCache, Loaded, Models
from worker.settings import Settings

SHARE_ABOVE = 2.0  # seconds of work left; for less, inviting other workers costs more than it saves
HELD = 5.0  # seconds before a deadline, in which a job keeps its worker: others wait so much longer
RETRY = 0.5  # seconds between attempts to reach the broker; Celery's time limit ends them

T = TypeVar("T")
log = structlog.get_logger(__name__)


class Certifier:
    """Everything a child needs. Created once, after the fork. worker_id: the parent's."""

    def __init__(self, settings: Settings, worker_id: str) -> None:
        self._slice = settings.slice
        self._client: redis.Redis = connect(settings.broker)
        self._engines = EngineCache(settings.registry, settings.engine_builder())
        self.votes = VoteStore(self._client, worker_id, self._engines.platform, settings.policy)
        self.models = Models(settings, self._engines, self.votes, JobStore(self._client))
        self._publisher = TaskPublisher(settings.broker)
        self._signer = Signer.read(settings.signing_key) if settings.signing_key else None

    def start(self) -> None:
        """Loads the first models, then starts loading the others in a thread."""
        self.models.load_first()
        self.models.watch()

    def draw(self, job_id: str, message: int, task_id: str) -> None:
        """Draws votes of a job for one time slice. Results and errors go to the job's record."""
        delivery = secrets.token_hex(8)
        result = _until_answered(lambda: self.votes.begin(job_id, message, task_id, delivery))
        if isinstance(result, Message):
            log.info("sent on", queue=result.queue)
            self._send(result)
        elif isinstance(result, Task):
            with structlog.contextvars.bound_contextvars(request=result.request_id):
                self._work(result)
        else:
            log.info("not begun", why=result)

    def _work(self, task: Task) -> None:
        try:
            self._run(task)
        except SmoothCertError as error:
            self._fail(task, error)
        except Exception:
            log.exception("unexpected")
            self._fail(
                task, InternalError("The worker met an error that it did not expect; its log has more.")
            )

    def _run(self, task: Task) -> None:
        """Draws with the engine that the job is pinned to. If engine or weights differ, restarts the job."""
        log.info("begun", model=task.model, range=task.range, main=task.main)
        loaded = self._load(task)
        pin, current = task.pin, (loaded.engine.description, loaded.classifier_sha256)
        if pin is None or (pin.engine, pin.weights) == current:
            self._draw(task, Drawing(task, _image(task), loaded, self._signer))
        elif task.main:
            log.warning("restarted", was=str(pin.engine), now=str(current[0]))
            restarted = _until_answered(lambda: self.votes.restart(task))
            if restarted:
                self._run(restarted)
        else:
            raise InternalError("This worker has another classifier than the one that votes on this job.")

    def _load(self, task: Task) -> Loaded:
        try:
            return self._engines.load(task.model, task.pin.engine if task.pin else task.engine_config)
        except BadCheckpoint as error:
            self.models.refuse(task.model, str(error))
            raise
        except InvalidRequest as error:  # of the operator's files or settings, not of the caller's request
            raise InternalError(f"{task.model} can't be run here: {error}") from error

    def _draw(self, task: Task, drawing: Drawing) -> None:
        """Draws ranges until the job has ended or is due, no range is left, or the time slice is over."""
        until = self._slice_end(task.ends_at)
        while True:
            if task.range != NO_RANGE and not drawing.is_due():
                drawing.draw(task.range, until)
            if drawing.is_finished():
                break
            due = drawing.is_due()
            leaving = not due and (task.range == NO_RANGE or time.monotonic() >= until)
            answer = self._deliver(task, drawing, leaving)
            if answer is None:
                log.info("over")
                return
            drawing.learn(answer)
            if due or drawing.is_finished():
                break
            task = replace(task, range=answer.range)
            if leaving or (task.range == NO_RANGE and not answer.counts):
                self._leave(answer)
                return
            self._invite(task, answer)
        self._finish(task, drawing)

    def _slice_end(self, ends_at: float) -> float:
        """Monotonic time at which a task leaves. A job whose deadline is near stays until then: between two
        slices it would wait for other jobs.
        """
        now = time.monotonic()
        return ends_at if ends_at - now <= HELD else now + self._slice

    def _deliver(self, task: Task, drawing: Drawing, leaving: bool) -> Answer | None:
        delivery = drawing.delivery()
        share = task.main and not leaving and drawing.seconds_left > SHARE_ABOVE
        return _until_answered(
            lambda: self.votes.deliver(task, delivery, leave=leaving, models=self.models.loaded, share=share)
        )

    def _leave(self, answer: Answer) -> None:
        """Sends the message for the successor task, if there is one."""
        if answer.successor:
            self._send(answer.successor)
        log.info("left", successor=answer.successor is not None)

    def _invite(self, task: Task, answer: Answer) -> None:
        for _ in range(answer.idle):
            self._send(Message(task.job_id, platform_queue(task.model, self.votes.platform), HELPER))
        if answer.idle:
            log.info("asked for help", workers=answer.idle)

    def _finish(self, task: Task, drawing: Drawing) -> None:
        certificate, progress = drawing.certificate(), drawing.certification.progress
        votes, seconds = drawing.work
        ended = _until_answered(
            lambda: self.votes.finish(task, certificate, progress, votes=votes, seconds=seconds)
        )
        log.info("finished" if ended else "over")

    def _fail(self, task: Task, error: SmoothCertError) -> None:
        if not task.main and task.pin:
            log.warning("could not help", error=str(error))
            uncounted = Delivery(task.pin)
            _until_answered(lambda: self.votes.deliver(task, uncounted, leave=True, models=[]))
            return
        log.warning("failed", error=str(error))
        is_invalid = isinstance(error, InvalidRequest)
        title = "The request can't be carried out" if is_invalid else "The worker failed"
        problem = Problem(title=title, status=422 if is_invalid else 500, detail=str(error))
        _until_answered(lambda: self.votes.fail(task, problem))

    def _send(self, message: Message) -> None:
        """Sends a message. A sweep sends it again if it is lost here."""
        try:
            self._publisher.send(message)
        except BrokerUnavailable as error:
            log.warning("message not sent", error=str(error))


def _until_answered(call: Callable[[], T]) -> T:
    """Retries while the broker is unavailable. Every transition is idempotent."""
    retrying = Retrying(
        retry=retry_if_exception_type(BrokerUnavailable), wait=wait_fixed(RETRY), before_sleep=_note
    )
    return retrying(call)


def _note(attempt: RetryCallState) -> None:
    log.warning("the broker is away", error=str(attempt.outcome and attempt.outcome.exception()))


def _image(task: Task) -> CertifiedImage:
    if task.image is None:
        raise InternalError("The image of this job has expired.")
    return task.image
