"""The job record as a worker uses it: claim under a lease, report, let go or end; and the janitor's view."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import redis

from smoothcert.jobs.jobs import DAY
from smoothcert.jobs.scripts import ROOT, Scripts
from smoothcert.jobs.workers import WorkerInfo
from smoothcert.schemas.certificate import Certificate, Engine
from smoothcert.schemas.job import Problem, Progress
from smoothcert.schemas.parameters import Parameters

SECOND = 1_000_000  # microseconds

Refusal = Literal["gone", "over", "busy", "exhausted", "elsewhere"]


@dataclass(frozen=True)
class Terms:
    """lease: seconds a holder may stay silent. attempts: claims before a job that kills its workers fails.
    grace: seconds after which a message that should have arrived counts as lost. ttl: of records, seconds.
    unserved: seconds that a job waits for a model that no worker has.
    """

    lease: float = 10.0
    attempts: int = 3
    grace: float = 5.0
    ttl: int = DAY
    unserved: float = 3600.0


@dataclass(frozen=True)
class Claim:
    """One job, held under one fence.

    state: the procedure's, as reported last. engine, weights (the card's classifier_sha256): pinned by the
    first claim. request_id: of the HTTP request that asked for it. division: set while others share it.
    setup: what the one who sent it wants to cast the votes, None for the worker's choice.
    """

    job_id: str
    fence: str
    model: str
    parameters: Parameters
    seed: str
    attempt: int
    state: str | None
    engine: Engine | None
    weights: str | None
    request_id: str = ""
    division: str | None = None
    setup: str | None = None


@dataclass(frozen=True)
class Due:
    """A job that somebody must hear of: its message must be sent (again), or it was given up."""

    job_id: str
    model: str


@dataclass(frozen=True)
class Work:
    """What a holder did since its last report."""

    votes: int = 0
    seconds: float = 0.0

    def plus(self, votes: int, seconds: float) -> "Work":
        return Work(self.votes + votes, self.seconds + seconds)

    @property
    def microseconds(self) -> int:
        return round(self.seconds * SECOND)


IDLE = Work()


class LostLease(Exception):
    """This job is somebody else's now, or has ended: write nothing more."""


def exhausted(attempts: int) -> str:
    """What a job ends with that was given up."""
    return Problem(
        title="The job broke its worker",
        status=500,
        detail=f"The job was given up after {attempts} attempts, each of which ended with its worker.",
    ).model_dump_json()


def unserved(seconds: float) -> str:
    """What a job ends with whose model is gone; the record puts the model's name in."""
    return Problem(
        title="No worker has the model",
        status=503,
        detail=f"No worker has had the model {{model}} for {seconds:g} s, so this job was given up.",
    ).model_dump_json()


class Leases:
    """Transitions that only the holder of the right fence may make. All may raise BrokerUnavailable."""

    def __init__(self, client: redis.Redis, terms: Terms | None = None, root: str = ROOT) -> None:
        self.terms = terms or Terms()
        self.scripts = Scripts(client, root)
        self._lease = round(self.terms.lease * SECOND)

    def claim(self, job_id: str, worker: str, platform: str) -> Claim | Refusal:
        """Takes the job named if its lease ran out or this very worker held it when its child died, else the
        first queued job of the same model: a message says that there is work, the record says which.

        The refusal is about the job named. `platform` names what this worker computes on. A job pinned
        elsewhere is left to a living worker of that platform that has the model; when there is none, it
        starts again from its first vote (with its old seed).
        """
        terms = self.terms
        told = self.scripts.run(
            "claim",
            job_id,
            worker,
            platform,
            self._lease,
            terms.attempts,
            exhausted(terms.attempts),
            terms.ttl,
        )
        if told[0] != b"claimed":
            refusal: Refusal = told[0].decode()
            return refusal
        taken, fence, model, parameters, seed, attempt, state, engine, weights, request, division, setup = (
            told[1:]
        )
        return Claim(
            job_id=taken.decode(),
            fence=fence.decode(),
            model=model.decode(),
            parameters=Parameters.model_validate_json(parameters),
            seed=seed.decode(),
            attempt=int(attempt),
            state=state.decode() if state else None,
            engine=Engine.model_validate_json(engine) if engine else None,
            weights=weights.decode() if weights else None,
            request_id=request.decode() if request else "",
            division=division.decode() if division else None,
            setup=setup.decode() if setup else None,
        )

    def pin(self, claim: Claim, engine: Engine, platform: str, weights: str) -> None:
        """Fixes what casts every vote of this job, unless it is fixed already. Raises LostLease."""
        pinned = engine.model_dump_json()
        self._held(self.scripts.run("pin", claim.job_id, claim.fence, pinned, platform, weights))

    def restart(self, claim: Claim) -> Claim:
        """Forgets the job's votes and its pin, because they can't be continued. Raises LostLease."""
        self._held(self.scripts.run("restart", claim.job_id, claim.fence))
        return replace(claim, state=None, engine=None, weights=None, division=None)

    def renew(self, claim: Claim) -> None:
        """Extends the lease. Raises LostLease."""
        self._held(self.scripts.run("renew", claim.job_id, claim.fence, self._lease, self.terms.ttl))

    def progress(
        self,
        claim: Claim,
        state: str,
        progress: Progress,
        certificate: Certificate | None = None,
        work: Work = IDLE,
        *,
        taken_up: Iterable[int] = (),
    ) -> int:
        """Reports and extends the lease; returns how many jobs wait for its models. Raises LostLease.

        `certificate` is the best so far: what the job keeps if it is cancelled now. `work` is for the
        figures. `taken_up`: starts of the portions whose counts this state has since the last report.
        """
        waiting = int(
            self.scripts.run(
                "progress",
                claim.job_id,
                claim.fence,
                self._lease,
                state,
                progress.model_dump_json(),
                certificate.model_dump_json() if certificate else "",
                self.terms.ttl,
                work.votes,
                work.microseconds,
                *taken_up,
            )
        )
        self._held(waiting >= 0)
        return waiting

    def hand_back(self, claim: Claim) -> None:
        """Lets the job go back to the queue; its message must be sent then. Raises LostLease."""
        self._held(self.scripts.run("hand_back", claim.job_id, claim.fence, self.terms.ttl))

    def finish(self, claim: Claim, certificate: Certificate, progress: Progress, work: Work = IDLE) -> None:
        """Ends the job with its certificate. Raises LostLease."""
        said = progress.model_dump_json(), certificate.model_dump_json(), ""
        self._settle(claim, "succeeded", *said, work=work)

    def fail(self, claim: Claim, problem: Problem) -> None:
        """Ends the job with an error. Raises LostLease."""
        self._settle(claim, "failed", "", "", problem.model_dump_json())

    def overdue(self, idle: Iterable[str] = (), limit: int = 100) -> list[Due]:
        """Jobs to send again: their lease ran out or their message was lost. Any number of janitors may ask.

        `idle` names the models whose message queue is empty.
        """
        terms = self.terms
        told = self.scripts.run(
            "overdue",
            round(terms.grace * SECOND),
            terms.attempts,
            exhausted(terms.attempts),
            terms.ttl,
            limit,
            *idle,
        )
        return _dues(told)

    def give_up_unserved(self, limit: int = 100) -> list[Due]:
        """Ends the jobs that waited too long for a model that no living worker has; returns those."""
        terms = self.terms
        patience = round(terms.unserved * SECOND)
        told = self.scripts.run("unserved", patience, unserved(terms.unserved), terms.ttl, limit)
        return _dues(told)

    def beat(self, worker: WorkerInfo, ttl: int) -> None:
        """A sign of life, good for `ttl` seconds."""
        said = worker.model_copy(update={"silence": ttl})
        self.scripts.run("beat", worker.id, said.model_dump_json(), ttl)

    def leave(self, worker_id: str) -> None:
        """This worker is gone."""
        self.scripts.run("beat", worker_id, "", 1)

    def _settle(
        self, claim: Claim, status: str, progress: str, certificate: str, error: str, *, work: Work = IDLE
    ) -> None:
        said = status, progress, certificate, error, self.terms.ttl, work.votes, work.microseconds
        self._held(self.scripts.run("settle", claim.job_id, claim.fence, *said))

    @staticmethod
    def _held(answer: int | bool) -> None:
        if not answer:
            raise LostLease


def _dues(told: list[bytes]) -> list[Due]:
    return [Due(job_id.decode(), model.decode()) for job_id, model in zip(told[::2], told[1::2], strict=True)]
