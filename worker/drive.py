"""One job's votes: the procedure asks, the engine counts, the record is told."""

import time
from dataclasses import dataclass
from typing import Literal

import structlog

from smoothcert.errors import BrokerUnavailable
from smoothcert.images.pixels import CertifiedImage
from smoothcert.jobs.leases import IDLE, Claim, Leases, LostLease
from smoothcert.schemas.certificate import Certificate
from smoothcert.signing import Signer
from smoothcert.stats.certificate import build_certificate
from smoothcert.stats.procedure import Certification
from smoothcert.stats.state import CertificationState
from smoothcert.votes import VoteRange, VoteSource
from worker.cache import Loaded
from worker.company import INVITE_EVERY, Company, Together
from worker.drain import draining
from worker.hand import Division, Hand
from worker.keeper import Keeper
from worker.pace import Pace

FINISH_PATIENCE = 60.0  # seconds to deliver a finished certificate to a broker that is away
RETRY = 0.5  # seconds
NEARLY = 0.85  # of a chunk's time: for the rest, a few batches would leave most of the engine idle

Ending = Literal["finished", "handed back"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Turn:
    """How long a job may run, and who signs. chunk: seconds between reports. quantum: while others wait.
    divide: seconds of work left above which others are asked to help."""

    chunk: float
    quantum: float
    divide: float
    signer: Signer | None = None


class Drive:
    """Takes one claimed job as far as its turn allows: alone, or together with others once it is divided.

    The votes of a job depend on its seed and engine alone, never on how chunks, turns and workers were cut.
    """

    def __init__(
        self,
        leases: Leases,
        claim: Claim,
        image: CertifiedImage,
        loaded: Loaded,
        turn: Turn,
        *,
        company: Company,
    ) -> None:
        self._leases, self._claim, self._image, self._loaded, self._turn = leases, claim, image, loaded, turn
        self._company = company
        self._source = loaded.votes(image, claim.parameters.sigma, claim.seed)
        self._certification = _certification(claim, self._source)
        self._pace = Pace(turn.chunk, loaded.engine.description.batch)
        self._unreported = IDLE
        self._invited = float("-inf")
        self._together = self._join(claim.division) if claim.division else None

    def run(self, keeper: Keeper) -> Ending:
        """Until the certificate is delivered or the job handed back. Raises LostLease, BrokerUnavailable."""
        try:
            return self._run(keeper)
        finally:
            if self._together:
                self._together.leave()

    def _run(self, keeper: Keeper) -> Ending:
        started = reported = time.monotonic()
        while not self._certification.finished:
            self._step(reported + self._turn.chunk - time.monotonic())
            keeper.note()
            if keeper.lost:
                raise LostLease
            now = time.monotonic()
            if now - reported < NEARLY * self._turn.chunk and not draining():
                continue
            waiting = self._report()
            reported = now
            if draining() or (waiting and now - started > self._turn.quantum):
                self._leases.hand_back(self._claim)
                return "handed back"
            if not waiting:
                self._invite(now)
        self._finish()
        return "finished"

    def _step(self, left: float) -> None:
        """Counts what it can until the next report is due, in `left` seconds: all that a kill may cost."""
        if self._together and self._together.step():
            return
        self._together = None
        start = self._certification.state.estimation.drawn
        votes = self._certification.request(self._pace.most(start, left))
        assert votes is not None
        self._count(votes)

    def _invite(self, now: float) -> None:
        """Small jobs never ask: it would take longer than it saves."""
        drawn = self._certification.state.estimation.drawn
        left = self._pace.seconds(self._claim.parameters.n - drawn)
        if not drawn or left < self._turn.divide or now - self._invited < INVITE_EVERY:
            return
        self._invited = now
        division = self._company.invite(self._claim, drawn)
        if division and not self._together:
            self._together = self._join(division)

    def _join(self, division: str) -> Together:
        shares, claim, certification = self._company.shares, self._claim, self._certification
        which = Division(claim.job_id, division, certification.plan)
        return Together(shares, claim, division, certification, Hand(shares, which, self._source, self._pace))

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
            taken_up = self._together.taken_up if self._together else []
            waiting = self._leases.progress(
                self._claim,
                state,
                certification.progress,
                certificate,
                self._unreported,
                taken_up=taken_up,
            )
        except BrokerUnavailable as error:
            log.warning("report failed", job=self._claim.job_id, error=str(error))
            return 0
        self._unreported = IDLE
        taken_up.clear()
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
        certificate = build_certificate(
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
    state = CertificationState.model_validate_json(claim.state)
    return Certification.resume(claim.parameters, source.num_classes, state, slack=source.slack)
