"""One job and its workers, whatever befalls them, one transition at a time, on a real broker.

Tasks are drawn by the product's own code (worker.drawing); votes are known by their number, so a count that
is missing or twice shows in the sums.
"""

import math
import secrets
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import redis

from smoothcert.images.pixels import CertifiedImage
from smoothcert.jobs.keys import MAX_DELIVERIES
from smoothcert.jobs.store import JobStore, Request
from smoothcert.jobs.tasks import HELPER, NO_RANGE, Message, Policy, Task
from smoothcert.jobs.votes import VoteStore
from smoothcert.jobs.workers import WorkerStatus, WorkerStore
from smoothcert.schemas.certificate import EngineDescription
from smoothcert.schemas.job import Job
from smoothcert.schemas.parameters import Parameters
from smoothcert.stats.procedure import Certification, CertificationState, drive
from smoothcert.testing import KnownVotes
from smoothcert.votes import VoteRange
from tests.support.cards import card_with
from worker.drawing import Drawing
from worker.models import Loaded

N, RANGE = 400, 16
PARAMETERS = Parameters(sigma=0.5, n0=16, n=N)
IMAGE = CertifiedImage.of(bytes(4), (1, 2, 2), [])
PLATFORMS = {"w1": "x", "w2": "x", "w3": "x", "w4": "y", "w9": "y"}
MODEL = "m"
CARD = card_with(name=MODEL, input_shape=(1, 2, 2), labels=["a", "b", "c"])


class FakeEngine:
    """Casts the same known votes on every platform, and says which it is."""

    num_classes = 3

    def __init__(self, platform: str) -> None:
        self.description = EngineDescription(device=platform, backend="b", precision="p", batch=1)

    def sampler(self, *_: Any) -> KnownVotes:
        return VOTES


VOTES = KnownVotes([0.7, 0.2, 0.06])
LOADED = {platform: Loaded(CARD, FakeEngine(platform), None) for platform in ("x", "y")}


def counted(drawn: int) -> tuple[int, ...]:
    """The counts of the first votes, each once."""
    return tuple(VOTES.count(VoteRange("estimation", 0, drawn)).tolist())


def undisturbed() -> Certification:
    certification = Certification(PARAMETERS, 3)
    for _ in drive(certification, VOTES, N):
        pass
    return certification


@dataclass
class Hand:
    """A task at work, or one that has died or was cut off, and may yet write."""

    worker: str
    task: Task
    message: Message
    drawing: Drawing | None
    dead: bool = False


@dataclass
class Site:
    """The record, the messages that were ever sent, and the tasks that were ever begun."""

    client: redis.Redis
    sent: list[Message] = field(default_factory=list)
    hands: list[Hand] = field(default_factory=list)
    deaths: int = 0
    end: Job | None = None
    backup: dict[bytes, tuple[bytes, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store = JobStore(self.client)
        self.votes = {name: VoteStore(self.client, name, platform) for name, platform in PLATFORMS.items()}
        self.workers = WorkerStore(self.client, Policy(grace=0.0))
        for name in list(PLATFORMS)[:-1]:
            self.live(name)
        submission = self.store.submit(Request(MODEL, PARAMETERS, IMAGE))
        assert submission.message is not None
        self.job_id = submission.job_id
        self.sent.append(submission.message)
        self.save()

    def live(self, name: str) -> None:
        """A worker gives a sign of life."""
        status = WorkerStatus(
            id=name, host="h", models=[MODEL], started_at=datetime.now(UTC), platform=PLATFORMS[name]
        )
        self.workers.beat(status, silence=3600)
        self.votes[name].beat([MODEL], silence=3600)

    def begin(self, message: Message, worker: str) -> None:
        """A message is delivered: for the first time, again, or late."""
        taken = [hand for hand in self.hands if hand.task.task_id == message.task_id]
        for hand in taken:
            hand.dead = True  # Celery delivers a message again only when it takes the first task for dead
            self.deaths += 1
        begun = self.votes[worker].begin(self.job_id, message.number, message.task_id, secrets.token_hex(4))
        if isinstance(begun, Message):
            self.sent.append(begun)
        elif isinstance(begun, Task):
            loaded = LOADED[PLATFORMS[worker]]
            assert begun.pin is None or begun.pin.engine == loaded.engine.description
            if begun.pin or begun.range == 0:
                drawing = Drawing(begun, IMAGE, loaded, None)
                self.hands.append(Hand(worker, begun, message, drawing))

    def step(self, hand: Hand, *, leave: bool = False, repeat: int = 1, share: bool = False) -> None:
        """The task counts its range and delivers it, `repeat` times where answers are lost."""
        drawing, task = hand.drawing, hand.task
        assert drawing is not None
        if task.range != NO_RANGE:
            drawing.draw(task.range, math.inf)
        if drawing.is_finished():
            self.finish(hand)
            return
        leave = leave or task.range == NO_RANGE
        delivery, votes = drawing.delivery(), self.votes[hand.worker]
        for _ in range(repeat):
            answer = votes.deliver(task, delivery, leave=leave, models=[MODEL], share=share)
        if answer is None:
            self.hands.remove(hand)
            return
        drawing.learn(answer)
        if drawing.is_finished():
            self.finish(hand)
            return
        hand.task = replace(task, range=answer.range)
        if answer.successor:
            self.sent.append(answer.successor)
        self.sent += [self.help_wanted()] * answer.idle
        if leave or (answer.range == NO_RANGE and not answer.counts):
            self.hands.remove(hand)

    def finish(self, hand: Hand) -> None:
        drawing = hand.drawing
        assert drawing is not None
        self.votes[hand.worker].finish(hand.task, drawing.certificate(), drawing.certification.progress)
        self.hands.remove(hand)

    def restart(self, hand: Hand) -> None:
        """This worker has other weights."""
        fresh = self.votes[hand.worker].restart(hand.task)
        self.hands.remove(hand)
        if fresh:
            drawing = Drawing(fresh, IMAGE, LOADED[PLATFORMS[hand.worker]], None)
            self.hands.append(Hand(hand.worker, fresh, hand.message, drawing))

    def help_wanted(self) -> Message:
        return Message(self.job_id, "any", HELPER)

    def sweep(self) -> None:
        self.sent += self.workers.sweep().lost

    def save(self) -> None:
        """What the broker would have, were it to lose what follows."""
        keys: Any = self.client.keys()
        dumps = {key: self.client.dump(key) for key in keys}
        self.backup = {key: (dump, 0) for key, dump in dumps.items() if isinstance(dump, bytes)}

    def lose_what_followed(self) -> None:
        self.client.flushdb()
        for key, (dump, _) in self.backup.items():
            self.client.restore(key, 3_600_000, dump)
        self.end = None

    def complete(self) -> Job:
        """Every worker but one is gone for good; that one brings the job to its end, whatever was left."""
        for name in PLATFORMS:
            self.workers.leave(name)
        self.hands.clear()
        self.votes["w9"] = VoteStore(self.client, "w9", "y")
        for _ in range(4 * N // RANGE):
            job = self.store.job(self.job_id)
            assert job is not None
            if job.ended:
                return job
            self.live("w9")
            self.sweep()
            self.begin(self.sent[-1], "w9")
            while self.hands:
                self.step(self.hands[-1])
        raise AssertionError("the job does not end")

    def check(self) -> None:
        """The record holds each vote once, misses none, and an end is the end."""
        job = self.store.job(self.job_id)
        assert job is not None
        if job.ended:
            assert self.end in (None, job)
            self.end = job
        if job.status == "failed":
            assert self.deaths >= MAX_DELIVERIES
            assert job.error is not None
            assert "attempts" in job.error.detail
        if job.certificate:
            assert tuple(job.certificate.counts) == counted(job.certificate.n)
        if job.status == "succeeded":
            assert job.certificate is not None
            assert job.certificate.radius == undisturbed().result.radius
        self._check_state(job)

    def _check_state(self, job: Job) -> None:
        record: Any = self.client.hgetall(f"{self.store.root}:job:{job.id}")
        folded, following, state = int(record[b"folded"]), int(record[b"next"]), record.get(b"state")
        if job.ended:
            return
        drawn = CertificationState.model_validate_json(state).estimation if state else None
        if drawn:
            assert (drawn.drawn, drawn.counts) == (min(folded * RANGE, N), counted(drawn.drawn))
            assert job.progress.samples == drawn.drawn
        known = set(range(folded)) | {int(k) for k in self.client.hkeys(f"{self.store.root}:counts:{job.id}")}  # type: ignore[union-attr]
        tasks: Any = self.client.hgetall(f"{self.store.root}:tasks:{job.id}")
        for name, entry in tasks.items():
            missing = name.startswith(b"missing:")
            known.add(
                int(name[8:]) if missing else int(entry.split(b'"range":')[1].split(b",")[0].rstrip(b"}"))
            )
        assert set(range(following)) <= known, "a range that was given out is brought, at work, or missed"
