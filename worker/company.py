"""The holder's side of a shared job: it asks others in, works on portions too, takes up what all bring."""

import time
from dataclasses import dataclass

import structlog

from smoothcert.errors import BrokerUnavailable
from smoothcert.jobs.delivery import TaskPublisher
from smoothcert.jobs.leases import Claim
from smoothcert.jobs.shares import Shares
from smoothcert.stats.chunks import Chunk, merge
from smoothcert.stats.procedure import Certification
from worker.hand import Hand

INVITE_EVERY = 2.0  # seconds; a worker that became idle meanwhile waits so long to be asked
LOOK_EVERY = 0.02  # seconds between two looks for portions that others still count
PATIENCE = 60.0  # seconds with a broker that is away
RETRY = 0.5  # seconds

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Company:
    """The other workers, as far as one job needs them."""

    shares: Shares
    courier: TaskPublisher

    def invite(self, claim: Claim, drawn: int) -> str | None:
        """Divides the job from vote `drawn` on and asks whoever is idle; answers with the division, if any.

        Raises LostLease. A broker that is away leaves the job undivided.
        """
        try:
            invitation = self.shares.divide(claim, drawn)
            for _ in range(invitation.idle):
                self.courier.invite(claim.job_id, claim.model)
        except BrokerUnavailable as error:
            log.warning("not divided", job=claim.job_id, error=str(error))
            return None
        if invitation.idle:
            log.info("divided", job=claim.job_id, drawn=drawn, asked=invitation.idle)
        return invitation.division


class Together:
    """One divided job in its holder's hand. taken_up: portions in the certification and not yet reported."""

    def __init__(
        self, shares: Shares, claim: Claim, division: str, certification: Certification, hand: Hand
    ) -> None:
        self._shares, self._claim, self._certification, self._hand = shares, claim, certification, hand
        self._division = division
        self._answered = time.monotonic()
        self.taken_up: list[int] = []

    def step(self) -> bool:
        """Counts a portion if there is one, takes up what came in. False when the division is over, as where
        a broker lost its last second. Raises LostLease, BrokerUnavailable."""
        try:
            busy = self._hand.step()
            if not self._gather():
                return False
        except BrokerUnavailable as error:
            if time.monotonic() - self._answered > PATIENCE:
                raise
            log.warning("the broker is away", job=self._claim.job_id, error=str(error))
            time.sleep(RETRY)
            return True
        self._answered = time.monotonic()
        if not busy and not self._certification.finished:
            time.sleep(LOOK_EVERY)
        return True

    def leave(self) -> None:
        """Lets go of its portion; somebody else may have it at once."""
        try:
            self._hand.leave()
        except BrokerUnavailable as error:
            log.warning("portion not put back", job=self._claim.job_id, error=str(error))

    def _gather(self) -> bool:
        drawn = self._certification.state.estimation.drawn
        counts = self._shares.gather(self._claim, self._division)
        if counts is None:
            log.warning("division lost", job=self._claim.job_id, drawn=drawn)
            return False
        parts = {start: Chunk.model_validate_json(said) for start, said in counts.items() if start >= drawn}
        self.taken_up += merge(self._certification, parts)
        return True
