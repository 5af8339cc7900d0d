"""The job record as workers use it who share one job: portions of its votes under tickets (decision 0010)."""

from dataclasses import dataclass

import redis

from smoothcert.jobs.leases import SECOND, Claim, LostLease, Terms, Work, exhausted
from smoothcert.jobs.scripts import ROOT, Argument, Scripts
from smoothcert.schemas.certificate import Engine
from smoothcert.schemas.parameters import Parameters

NOTHING = ("", "", "")  # brought: no portion


@dataclass(frozen=True)
class Help:
    """A divided job as a helper sees it. `division` is over when the job ends or starts again; engine and
    weights are those pinned: who can't cast votes with them stays away."""

    job_id: str
    division: str
    model: str
    parameters: Parameters
    seed: str
    engine: Engine
    weights: str
    request_id: str


@dataclass(frozen=True)
class Portion:
    """Estimation votes start..stop-1, owed by who has the ticket."""

    start: int
    stop: int
    ticket: str


@dataclass(frozen=True)
class Counted:
    """A portion with its counts (as text, for who takes them up), and the seconds they took."""

    portion: Portion
    counts: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Exchange:
    """late: the portion brought had been given to another meanwhile, so these counts were refused."""

    portion: Portion | None
    late: bool


@dataclass(frozen=True)
class Invitation:
    """idle: workers that could join. division: None when the job was not divided."""

    idle: int
    division: str | None


class Shares:
    """What workers do with one divided job. All may raise BrokerUnavailable.

    Each vote is counted once: portions never overlap, and the counts of one are taken from one ticket only.
    """

    def __init__(
        self, client: redis.Redis, worker: str, platform: str, terms: Terms | None = None, root: str = ROOT
    ) -> None:
        self.worker, self.platform, self.terms = worker, platform, terms or Terms()
        self.scripts = Scripts(client, root)
        self._lease = round(self.terms.lease * SECOND)

    def announce(self) -> None:
        """Says what this worker computes on, so that it may be asked for help before its first job."""
        self.scripts.run("platform", self.worker, self.platform)

    def divide(self, claim: Claim, drawn: int) -> Invitation:
        """Opens the holder's job from vote `drawn` on, where its last report stands, if others are idle.

        Raises LostLease.
        """
        idle, *division = self.scripts.run("divide", claim.job_id, claim.fence, drawn)
        if idle < 0:
            raise LostLease
        return Invitation(idle, division[0].decode() if division else None)

    def join(self, job_id: str) -> Help | None:
        """What there is to help with; None when the job isn't divided, or pinned to another platform."""
        told = self.scripts.run("join", job_id, self.platform)
        if not told:
            return None
        division, model, parameters, seed, engine, weights, request = (part.decode() for part in told)
        return Help(
            job_id=job_id,
            division=division,
            model=model,
            parameters=Parameters.model_validate_json(parameters),
            seed=seed,
            engine=Engine.model_validate_json(engine),
            weights=weights,
            request_id=request,
        )

    def exchange(
        self,
        job_id: str,
        division: str,
        *,
        want: int = 0,
        batch: int = 1,
        done: Counted | None = None,
    ) -> Exchange:
        """Brings the counts of a portion, if one is `done`, and takes about `want` votes in whole batches.

        A portion abandoned by its taker goes first. None when nothing is left, or others wait for a helper.
        """
        terms = self.terms
        good, portion = self.scripts.run(
            "exchange",
            job_id,
            division,
            self.worker,
            self._lease,
            want,
            batch,
            terms.attempts,
            exhausted(terms.attempts),
            terms.ttl,
            *(_brought(done) if done else NOTHING),
        )
        taken = Portion(int(portion[0]), int(portion[1]), portion[2].decode()) if portion else None
        return Exchange(taken, late=not good)

    def leave(self, job_id: str, portion: Portion) -> None:
        """Puts a portion back that was not counted."""
        self.scripts.run("leave", job_id, portion.start, portion.ticket)

    def hold(self, job_id: str, division: str) -> None:
        """A helper keeps its portion for longer. Raises LostLease when the job goes on without it."""
        if not self.scripts.run("hold", job_id, division, self.worker, self._lease):
            raise LostLease

    def gather(self, claim: Claim, division: str) -> dict[int, str] | None:
        """The counts that came in and are not yet in the reported state, by start. None when the division is
        over although the job is not: its holder goes on alone. Raises LostLease."""
        what, *told = self.scripts.run("gather", claim.job_id, claim.fence, division)
        if what == 0:
            raise LostLease
        if what == 2:
            return None
        return {int(start): counts.decode() for start, counts in zip(told[::2], told[1::2], strict=True)}


def _brought(done: Counted) -> tuple[Argument, ...]:
    portion, work = done.portion, Work(done.portion.stop - done.portion.start, done.seconds)
    return portion.start, portion.ticket, done.counts, work.votes, work.microseconds
