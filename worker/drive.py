"""One job's votes: the procedure asks, the engine counts, the record is told."""

import time
from dataclasses import dataclass
from typing import Literal

import numpy as np
import structlog

from certification.contract.certificate import Certificate
from certification.contract.store.image import Image
from certification.contract.store.leases import IDLE, Claim, Leases, LostLease
from certification.errors import BrokerUnavailable
from certification.evidence import State
from certification.issue import issue
from certification.procedure import Certification
from certification.signing import Signer
from certification.votes import VoteRange, VoteSource
from worker.cache import Loaded
from worker.drain import draining
from worker.keeper import Keeper
from worker.pace import Pace

FINISH_PATIENCE = 60.0  # seconds to deliver a finished certificate to a broker that is away
RETRY = 0.5  # seconds

Ending = Literal["finished", "handed back"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Turn:
    """How long a job may run, and who signs. chunk: seconds between reports. quantum: while others wait."""

    chunk: float
    quantum: float
    signer: Signer | None = None


class Drive:
    """Takes one claimed job as far as its turn allows.

    The votes of a job depend on its seed and engine alone, never on how chunks, turns and workers were cut.
    """

    def __init__(self, leases: Leases, claim: Claim, image: Image, loaded: Loaded, turn: Turn) -> None:
        self._leases, self._claim, self._image, self._loaded, self._turn = leases, claim, image, loaded, turn
        engine = loaded.engine
        pixels_CHW = np.frombuffer(image.pixels, dtype=np.uint8).reshape(image.digest.shape)
        self._source = engine.sampler(pixels_CHW, claim.parameters.sigma, int(claim.seed, 16))
        self._certification = _certification(claim, self._source)
        self._pace = Pace(turn.chunk, engine.description.batch)
        self._unreported = IDLE

    def run(self, keeper: Keeper) -> Ending:
        """Until the certificate is delivered or the job handed back. Raises LostLease, BrokerUnavailable."""
        started = reported = time.monotonic()
        while (votes := self._next(reported + self._turn.chunk - time.monotonic())) is not None:
            self._count(votes)
            keeper.note()
            if keeper.lost:
                raise LostLease
            now = time.monotonic()
            if now - reported < self._turn.chunk and not draining():
                continue
            waiting = self._report()
            reported = now
            if draining() or (waiting and now - started > self._turn.quantum):
                self._leases.hand_back(self._claim)
                return "handed back"
        self._finish()
        return "finished"

    def _next(self, left: float) -> VoteRange | None:
        """What can be counted until the next report is due: all that a kill may cost."""
        start = self._certification.state.estimation.drawn
        return self._certification.request(self._pace.most(start, left))

    def _count(self, votes: VoteRange) -> None:
        start = time.perf_counter()
        counts_K = self._source.count(votes)
        seconds = time.perf_counter() - start
        self._pace.observe(votes.votes, seconds)
        self._unreported = self._unreported.plus(votes.votes, seconds)
        self._certification.add(votes, counts_K)

    def _report(self) -> int:
        """How many jobs wait. A broker that is away is no reason to stop: the fence keeps order."""
        certification = self._certification
        certificate = self._certificate() if certification.state.best else None
        try:
            state = certification.state.model_dump_json()
            waiting = self._leases.progress(
                self._claim, state, certification.progress, certificate, self._unreported
            )
        except BrokerUnavailable as error:
            log.warning("report failed", job=self._claim.job_id, error=str(error))
            return 0
        self._unreported = IDLE
        return waiting

    def _finish(self) -> None:
        certificate, deadline = self._certificate(), time.monotonic() + FINISH_PATIENCE
        while True:
            try:
                self._leases.finish(self._claim, certificate, self._certification.progress, self._unreported)
                return
            except BrokerUnavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(RETRY)

    def _certificate(self) -> Certificate:
        certificate = issue(
            self._certification.result,
            self._claim.parameters,
            card=self._loaded.card,
            input_digest=self._image.digest,
            seed=self._claim.seed,
            engine=self._loaded.engine.description,
        )
        return self._turn.signer.sign(certificate) if self._turn.signer else certificate


def _certification(claim: Claim, source: VoteSource) -> Certification:
    if claim.state is None:
        return Certification(claim.parameters, source.num_classes, slack=source.slack)
    state = State.model_validate_json(claim.state)
    return Certification.resume(claim.parameters, source.num_classes, state, slack=source.slack)
