"""Certifiers in this process, on a real broker. Votes cost no time; something may happen between them."""

from collections.abc import Callable
from pathlib import Path
from threading import Timer
from typing import Any, ClassVar

import numpy as np
import redis
from numpy.typing import NDArray

from smoothcert.images.pixels import CertifiedImage
from smoothcert.jobs.broker import connect
from smoothcert.jobs.keys import platform_queue, queue_of
from smoothcert.jobs.store import JobStore, Request
from smoothcert.jobs.tasks import HELPER, Message
from smoothcert.schemas.card import ModelCard
from smoothcert.schemas.job import Job
from smoothcert.schemas.parameters import Parameters, ProcedureName
from smoothcert.votes import Counts, VoteRange
from tests.worker.stand_in import BLOCK, StandInEngine, StandIns, StandInVotes
from worker.certifier import Certifier
from worker.models import RequestedEngine
from worker.settings import Settings

MODEL = "stand-in"
SEED = "0123456789abcdef" * 2
AT_ONCE = 1e-9  # seconds a slice: each range has a task of its own


class ScriptedVotes(StandInVotes):
    """The stand-in's votes, at once, after whatever is to happen before them."""

    def count(self, votes: VoteRange, until: int = 0) -> Counts:
        Scripted.asked.append(votes)
        Scripted.expected.append(until)
        Scripted.before(len(Scripted.asked))
        return self.draw(votes)


class ScriptedEngine(StandInEngine):
    def sampler(self, image_CHW: NDArray[np.uint8], sigma: float, seed: int) -> StandInVotes:
        return ScriptedVotes(image_CHW, seed)


class Scripted(StandIns):
    """before: what happens before the first, second, ... votes are counted. loading: before a model is.

    asked: the votes that were counted. expected: up to which vote more were expected with each of these.
    requested: the engines that were asked for.
    """

    asked: ClassVar[list[VoteRange]] = []
    expected: ClassVar[list[int]] = []
    before: ClassVar[Callable[[int], object]]
    loading: ClassVar[Callable[[str], object]]
    requested: ClassVar[list[RequestedEngine | None]] = []

    def build(self, folder: Path, card: ModelCard, requested: RequestedEngine | None) -> ScriptedEngine:
        Scripted.loading(folder.name)
        Scripted.requested.append(requested)
        return ScriptedEngine(self._device)

    def check(self, folder: Path, card: ModelCard) -> None:
        Scripted.loading(folder.name)


class Inside:
    """Certifiers w1, w2, ... of one store."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.client: redis.Redis = connect(url)
        self.store = JobStore(self.client)
        Scripted.expected = []
        Scripted.asked, Scripted.before, Scripted.loading = [], _nothing, _nothing
        Scripted.requested = []
        self._timers: list[Timer] = []

    def certifier(self, name: str = "w1", **chosen: Any) -> Certifier:
        policy = {"redis_url": self.url, "warm": 0, **chosen}
        return Certifier(Settings(models=self.folder, engines="tests.worker.inside:Scripted", **policy), name)

    def submit(
        self, n: int = 8 * BLOCK, procedure: ProcedureName = "certify", deadline: float | None = None
    ) -> str:
        """A job that takes one count to select, and one for each batch unless the procedure looks between."""
        parameters = Parameters(n=n, sigma=0.5, procedure=procedure, deadline=deadline)
        image = CertifiedImage.of(bytes(4), (1, 2, 2), [])
        return self.store.submit(Request(MODEL, parameters, image, seed=SEED)).job_id

    def message(self, job_id: str) -> Message:
        """The job's latest one."""
        queue, number = self.client.hmget(f"{self.store.root}:job:{job_id}", "queue", "chain")  # type: ignore[misc]
        assert queue is not None
        assert number is not None
        return Message(job_id, queue.decode(), int(number))

    def draw(self, certifier: Certifier, job_id: str) -> None:
        """The task of the job's latest message."""
        message = self.message(job_id)
        certifier.draw(job_id, message.number, message.task_id)

    def help(self, certifier: Certifier, job_id: str) -> None:
        """The task of a helper's message."""
        message = Message(job_id, "", HELPER)
        certifier.draw(job_id, message.number, message.task_id)

    def run(self, certifier: Certifier, job_id: str) -> None:
        """Task after task, until the job has ended."""
        while not self.job(job_id).ended:
            self.draw(certifier, job_id)

    def job(self, job_id: str) -> Job:
        job = self.store.job(job_id)
        assert job is not None
        return job

    def counts(self, job_id: str) -> tuple[list[int], list[int]]:
        certificate = self.job(job_id).certificate
        assert certificate is not None, self.job(job_id)
        return certificate.selection_counts, certificate.counts

    def messages(self) -> int:
        """That wait for a worker."""
        queues = queue_of(MODEL), platform_queue(MODEL, "stand-in")
        lengths: list[Any] = [self.client.llen(queue) for queue in queues]
        return sum(lengths)

    def refuse_writes(self, refuse: bool = True) -> None:
        """As a broker does that has lost its replicas; reads go on."""
        self.client.config_set("min-replicas-to-write", int(refuse))

    def refuse_writes_for(self, seconds: float) -> None:
        """The same, and takes them again after that time."""
        self.refuse_writes()
        self._timers.append(Timer(seconds, self.refuse_writes, [False]))
        self._timers[-1].start()

    def close(self) -> None:
        for timer in self._timers:
            timer.join()
        self.refuse_writes(False)
        self.client.close()


def _nothing(_: object) -> None:
    """Happens, unless a test says otherwise."""


def undisturbed(n: int = 8 * BLOCK) -> tuple[list[int], list[int]]:
    """What the seed's votes are."""
    votes = StandInVotes(np.zeros((1, 2, 2), np.uint8), int(SEED, 16))
    selection, estimation = VoteRange("selection", 0, 100), VoteRange("estimation", 0, n)
    return votes.draw(selection).tolist(), votes.draw(estimation).tolist()


def at(count: int, what: Callable[[], object]) -> None:
    """It happens before so many votes are counted, and once: what counts within it is left alone."""

    def before(counts: int) -> None:
        if counts == count:
            what()

    Scripted.before = before
