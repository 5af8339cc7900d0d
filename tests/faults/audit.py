"""What is left when the dust has settled: jobs lost, ended twice, or with votes that an undisturbed run
would not have counted."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from smoothcert.cli.checkpoints import Checkpoint, build_engine
from smoothcert.engines.config import EngineConfig
from smoothcert.images.pixels import CertifiedImage
from smoothcert.models.registry import read_card
from smoothcert.schemas.certificate import Certificate
from smoothcert.schemas.job import Job
from smoothcert.schemas.parameters import Parameters
from smoothcert.stats.certificate import build_certificate
from smoothcert.stats.procedure import Certification, drive
from smoothcert.stats.verify import verify
from smoothcert.votes import VoteRange, VoteSource
from tests.faults.sampled import SampledVotes
from tests.faults.site import Site
from tests.worker.plant import MODEL as STAND_IN

WHOLE = 10_000_000  # votes drawn at a time when nothing disturbs
FINISHED = re.compile(rb'"job": "([^"]+)"[^\n]*"event": "finished"|"event": "finished"[^\n]*"job": "([^"]+)"')


class _AtOnce(SampledVotes):
    """The stand-in's votes without its slowness."""

    def count(self, votes: VoteRange, until: int = 0) -> np.ndarray:
        return self.draw(votes)


@dataclass(frozen=True)
class Verdict:
    """Job ids. lost: no end. twice: ended, and then otherwise, or by two workers. wrong: another certificate
    than undisturbed, or a failure that has no reason."""

    lost: tuple[str, ...]
    twice: tuple[str, ...]
    wrong: tuple[str, ...]


class Auditor:
    """Draws certificates' votes again, in one piece, from the seed each names. image: of a job, where the
    store may no longer have it.
    """

    def __init__(self, site: Site, image: Callable[[str], CertifiedImage | None] | None = None) -> None:
        self._site = site
        self._image = image or site.store.image

    def verdict(self, accepted: set[str], ended: dict[str, dict], may_fail: set[str]) -> Verdict:
        """accepted: every job promised. ended: as each was first seen to have ended. may_fail: may so."""
        wrong = [job_id for job_id, job in ended.items() if not self.right(job, job_id in may_fail)]
        return Verdict(tuple(accepted - set(ended)), tuple(self.twice(ended)), tuple(wrong))

    def right(self, job: dict, may_fail: bool = False) -> bool:
        """Whether it ended as an undisturbed one would have, or failed, where that may be, for a reason."""
        if job["status"] == "failed":
            return may_fail and bool(job["error"]["detail"])
        if job["certificate"] is None:
            return bool(job["status"] == "cancelled")
        certificate = Certificate.model_validate(job["certificate"])
        if job["status"] == "cancelled":
            return self._is_partial(job, certificate)
        undisturbed = self._undisturbed(job, certificate)
        return undisturbed.model_copy(update={"issued_at": certificate.issued_at}) == certificate

    def _undisturbed(self, job: dict, certificate: Certificate) -> Certificate:
        parameters, source = Parameters.model_validate(job["parameters"]), self._source(job, certificate)
        certification = Certification(parameters, source.num_classes, slack=source.slack)
        for _ in drive(certification, source, WHOLE):
            pass
        return build_certificate(
            certification.result,
            parameters,
            card=read_card(self._site.models / job["model"]),
            input_digest=certificate.input,
            seed=certificate.seed,
            engine=certificate.engine,
            asked_before=certificate.asked_before,
        )

    def _is_partial(self, job: dict, certificate: Certificate) -> bool:
        """A cancelled job's certificate is of the votes up to some look."""
        source = self._source(job, certificate)
        drawn = source.count(VoteRange("estimation", 0, certificate.n))
        return drawn.tolist() == certificate.counts and verify(certificate).first_wrong is None

    def _source(self, job: dict, certificate: Certificate) -> VoteSource:
        image = self._image(job["id"])
        assert image is not None
        pixels_CHW = np.frombuffer(image.pixels, np.uint8).reshape(image.digest.shape)
        seed = int(certificate.seed, 16)
        if job["model"] == STAND_IN:
            return _AtOnce(pixels_CHW, certificate.sigma, seed)
        folder = self._site.models / job["model"]
        engine = _engine(folder, str(EngineConfig.of(certificate.engine)))
        return engine.sampler(pixels_CHW, certificate.sigma, seed)

    def twice(self, ended: dict[str, dict]) -> list[str]:
        """Ended jobs that have changed since, or that more than one worker ended."""
        changed = [job_id for job_id, job in ended.items() if self.changed(job)]
        return changed + self.finished_twice()

    def changed(self, job: dict) -> bool:
        """Whether an ended job is no longer what it was then."""
        return self._now(job["id"]) != Job.model_validate(job)

    def finished_twice(self) -> list[str]:
        """Jobs that more than one worker says it ended."""
        finished: Counter[str] = Counter()
        for log in self._site.folder.glob("worker-*.log"):
            finished.update((a or b).decode() for a, b in FINISHED.findall(log.read_bytes()))
        return [job_id for job_id, times in finished.items() if times > 1]

    def _now(self, job_id: str) -> Job | None:
        job = self._site.store.job(job_id)
        return job and job.model_copy(update={"version": 0})


@cache
def _engine(folder: Path, setup: str) -> Any:
    return build_engine(Checkpoint(folder, read_card(folder)), setup)
