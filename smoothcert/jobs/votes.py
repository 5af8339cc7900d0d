"""The job records as a task uses them: begin, deliver counts and state, end the job."""

import math
import secrets
import time
from dataclasses import replace

import redis

from smoothcert.images.pixels import CertifiedImage
from smoothcert.jobs.keys import MAX_DELIVERIES, ROOT, platform_queue, queues_of
from smoothcert.jobs.scripts import Scripts
from smoothcert.jobs.tasks import (
    EXHAUSTED,
    HELPER,
    SECOND,
    Answer,
    Delivery,
    Message,
    NotBegun,
    Pin,
    Policy,
    Task,
)
from smoothcert.jobs.workers import ChildStatus
from smoothcert.schemas.certificate import Certificate, EngineDescription, InputDigest
from smoothcert.schemas.job import Problem, Progress
from smoothcert.schemas.parameters import Parameters


class VoteStore:
    """The transitions of one worker's tasks. All are idempotent, and may raise BrokerUnavailable.

    No job is locked: every task counts the same for a range, a state is replaced only by one that covers more
    ranges, and a job ends once.
    """

    def __init__(
        self,
        client: redis.Redis,
        worker: str,
        platform: str,
        policy: Policy | None = None,
        root: str = ROOT,
    ) -> None:
        self.worker, self.platform, self.policy = worker, platform, policy or Policy()
        self.child = f"{worker}/{secrets.token_hex(4)}"
        self.scripts = Scripts(client, root)

    def beat(self, models: list[str], silence: float) -> None:
        """Records the child's heartbeat, valid for `silence` seconds, with the models it has loaded."""
        status = ChildStatus(id=self.child, platform=self.platform, models=models, silence=silence)
        text = status.model_dump_json()
        self.scripts.run("beat", list="children", worker=self.worker, status=text, silence=silence)

    def begin(self, job_id: str, message: int, task_id: str, delivery: str) -> Task | Message | NotBegun:
        """Begins the task of a message, or returns why not. Send on a returned Message: the job is pinned to
        another platform.

        task_id: of the Celery message. delivery: unique for each delivery of it. A second delivery of a
        message means that the process that began it has died.
        """
        status, *reply = self.scripts.run(
            "begin",
            id=job_id,
            chain=message,
            task=task_id,
            delivery=delivery,
            worker=self.child,
            platform=self.platform,
            ttl=self.policy.ttl,
            max_deliveries=MAX_DELIVERIES,
            exhausted=EXHAUSTED,
        )
        if status == b"elsewhere":
            return Message(job_id, reply[0].decode(), reply[1])
        if status != b"begun":
            reason: NotBegun = status.decode()
            return reason
        taken, main, fields, (pixels, digest), counts, elapsed = reply
        model, parameters, seed, epoch, engine, weights, first, votes, ranges, *rest = fields
        state, folded, request, engine_config, asked_before = rest
        checked = Parameters.model_validate_json(parameters)
        return Task(
            job_id=job_id,
            task_id=task_id,
            delivery=delivery,
            main=bool(main),
            range=taken,
            epoch=int(epoch),
            model=model.decode(),
            parameters=checked,
            seed=seed.decode(),
            image=CertifiedImage(pixels, InputDigest.model_validate_json(digest)) if pixels else None,
            pin=Pin(
                EngineDescription.model_validate_json(engine),
                weights.decode(),
                int(first),
                int(votes),
                int(ranges),
            )
            if engine
            else None,
            state=state.decode() if state else None,
            folded=int(folded),
            counts={int(k): v.decode() for k, v in zip(counts[::2], counts[1::2], strict=True)},
            request_id=request.decode() if request else "",
            engine_config=engine_config.decode() if engine_config else None,
            ends_at=_ends_at(checked.deadline, elapsed),
            asked_before=int(asked_before) if asked_before else None,
        )

    def deliver(
        self,
        task: Task,
        delivery: Delivery,
        *,
        leave: bool = False,
        models: list[str],
        share: bool = False,
    ) -> Answer | None:
        """Delivers counts and state, then takes the next range or leaves. None: the task must stop, because
        the job has ended or restarted, or is pinned to another engine.

        leave: the rest to a successor task. A helper gets no range if jobs wait for its worker. models:
        loaded by this worker. share: whether to count idle workers.
        """
        pin = delivery.pin
        queue = platform_queue(task.model, self.platform)
        status, *reply = self.scripts.run(
            "deliver",
            queue=queue,
            id=task.job_id,
            epoch=task.epoch,
            task=task.task_id,
            delivery=task.delivery,
            worker=self.child,
            ttl=self.policy.ttl,
            range=delivery.range,
            counts=delivery.counts,
            votes=delivery.votes,
            spent=round(delivery.seconds * SECOND),
            state=delivery.state,
            folded=delivery.folded,
            progress=delivery.progress.model_dump_json() if delivery.progress else "",
            certificate=delivery.certificate.model_dump_json() if delivery.certificate else "",
            pin={
                "engine": pin.engine.model_dump_json(),
                "platform": self.platform,
                "platform_queue": queue,
                "weights": pin.weights,
                "first_votes": pin.first_votes,
                "range_votes": pin.range_votes,
                "ranges": pin.ranges,
            },
            leave=leave,
            main=task.main,
            share=share,
            queues=[name for model in models for name in queues_of(model, self.platform)],
        )
        if status == b"over":
            return None
        next_range, message, target, folded, state, counts, idle = reply
        return Answer(
            range=next_range,
            successor=Message(task.job_id, target.decode(), max(message, HELPER)) if message else None,
            folded=folded,
            state=state.decode(),
            counts=tuple(text.decode() for text in counts),
            idle=idle,
        )

    def restart(self, task: Task) -> Task | None:
        """Restarts the job with the same seed, as this worker's weights differ.

        None: it had ended or restarted before.
        """
        epoch = self.scripts.run(
            "restart",
            id=task.job_id,
            epoch=task.epoch,
            task=task.task_id,
            delivery=task.delivery,
            worker=self.child,
            ttl=self.policy.ttl,
        )
        if not epoch:
            return None
        return replace(task, epoch=epoch, range=0, pin=None, state=None, folded=0, counts={})

    def finish(
        self,
        task: Task,
        certificate: Certificate,
        progress: Progress,
        *,
        votes: int = 0,
        seconds: float = 0.0,
    ) -> bool:
        """Ends the job with its certificate; false if it had ended before. votes, seconds: as in Delivery."""
        return self._settle(
            task,
            "succeeded",
            progress=progress.model_dump_json(),
            certificate=certificate.model_dump_json(),
            votes=votes,
            spent=round(seconds * SECOND),
        )

    def fail(self, task: Task, problem: Problem) -> bool:
        """Ends the job with an error; false if it had ended before."""
        return self._settle(task, "failed", error=problem.model_dump_json())

    def _settle(
        self,
        task: Task,
        status: str,
        *,
        progress: str = "",
        certificate: str = "",
        error: str = "",
        votes: int = 0,
        spent: int = 0,
    ) -> bool:
        return bool(
            self.scripts.run(
                "finish",
                id=task.job_id,
                epoch=task.epoch,
                status=status,
                progress=progress,
                certificate=certificate,
                error=error,
                votes=votes,
                spent=spent,
                ttl=self.policy.ttl,
            )
        )


def _ends_at(deadline: float | None, elapsed: int) -> float:
    """Monotonic time of a deadline. elapsed: microseconds since the first task began."""
    return math.inf if deadline is None else time.monotonic() + deadline - elapsed / SECOND
