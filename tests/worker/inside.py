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
from smoothcert.jobs.delivery import queue_of
from smoothcert.jobs.jobs import JobStore, Request
from smoothcert.schemas.card import ModelCard
from smoothcert.schemas.job import Job
from smoothcert.schemas.parameters import Parameters, ProcedureName
from smoothcert.votes import Counts, VoteRange
from tests.worker.stand_in import BLOCK, StandInEngine, StandIns, StandInVotes
from worker.certifier import Certifier
from worker.settings import Settings
from worker.voting import Wanted

MODEL = "stand-in"
SEED = "0123456789abcdef" * 2
LONG = 64 * BLOCK
SHARED = 1e-9  # seconds of work left are worth sharing
EVERY_BATCH = 1e-6  # seconds a chunk: each batch is one, and is reported


class ScriptedVotes(StandInVotes):
    """The stand-in's votes, at once, after whatever is to happen before them."""

    def count(self, votes: VoteRange) -> Counts:
        Scripted.asked.append(votes)
        Scripted.before(len(Scripted.asked))
        return self.draw(votes)


class ScriptedEngine(StandInEngine):
    def sampler(self, image_CHW: NDArray[np.uint8], sigma: float, seed: int) -> StandInVotes:
        return ScriptedVotes(image_CHW, seed)


class Scripted(StandIns):
    """before: what happens before the first, second, ... votes are counted. loading: before a model is.

    wanted: the set-ups that were asked for.
    """

    asked: ClassVar[list[VoteRange]] = []
    before: ClassVar[Callable[[int], object]]
    loading: ClassVar[Callable[[str], object]]
    wanted: ClassVar[list[Wanted | None]] = []

    def build(self, folder: Path, card: ModelCard, wanted: Wanted | None) -> ScriptedEngine:
        Scripted.loading(folder.name)
        Scripted.wanted.append(wanted)
        return ScriptedEngine(self._device)


class Inside:
    """Certifiers w1, w2, ... of one store."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.client: redis.Redis = connect(url)
        self.store = JobStore(self.client)
        Scripted.asked, Scripted.before, Scripted.loading = [], _nothing, _nothing
        Scripted.wanted = []
        self._timers: list[Timer] = []

    def certifier(self, name: str = "w1", **chosen: Any) -> Certifier:
        terms = {"redis_url": self.url, "chunk": EVERY_BATCH, "divide": 1e9, **chosen}
        return Certifier(Settings(models=self.folder, engines="tests.worker.inside:Scripted", **terms), name)

    def submit(self, n: int = 8 * BLOCK, procedure: ProcedureName = "certify") -> str:
        """A job that takes one count to select, and one for each batch unless the procedure looks between."""
        parameters = Parameters(n=n, sigma=0.5, procedure=procedure)
        image = CertifiedImage.of(bytes(4), (1, 2, 2), [])
        return self.store.submit(Request(MODEL, parameters, image, seed=SEED)).job_id

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
        waiting: Any = self.client.llen(queue_of(MODEL))
        return int(waiting)

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
    """It happens before so many votes are counted, and once: whoever counts in it is left alone."""

    def before(counts: int) -> None:
        if counts == count:
            what()

    Scripted.before = before


def portions(inside: Inside, job_id: str) -> list[bytes]:
    return list(inside.client.hvals(f"{inside.store.root}:portions:{job_id}"))
