"""What a soak has shown, as Markdown, and whether that is what it should."""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from itertools import groupby

from smoothcert.images.pixels import CertifiedImage
from smoothcert.schemas.certificate import Certificate
from smoothcert.stats.verify import verify
from tests.faults.audit import Auditor
from tests.faults.site import LENET, Site
from tests.faults.table import line
from tests.faults.witness import drawn_again
from tests.soak.footprint import MIB, Footprint, Lasting
from tests.soak.load import Load
from tests.soak.strikes import BITING, Strike

SAMPLE = 200  # certificates of jobs that met no fault whose votes are drawn again, chosen at random
ENOUGH = 10.0  # minutes; of a shorter run, memory is stated and not judged


@dataclass(frozen=True)
class Outcome:
    """Everything that was seen. keys: those without expiry, once every job had ended."""

    site: Site
    minutes: float
    load: Load
    strikes: list[Strike]
    footprint: Footprint
    image: CertifiedImage
    keys: list[Lasting]

    @cached_property
    def again(self) -> dict[str, int]:
        """Votes drawn more than once, by the seed of their job."""
        return {seed: votes for seed, votes in drawn_again(self.site.book).items() if votes}

    @cached_property
    def disturbed(self) -> set[str]:
        """Ended jobs that a fault cost an attempt or votes."""
        return {job_id for job_id, job in self.load.ended.items() if job["attempts"] > 0 or self.votes(job)}

    def votes(self, job: dict) -> int:
        """How many of this job's were drawn again."""
        return self.again.get((job["certificate"] or {}).get("seed", ""), 0)

    @cached_property
    def redrawn(self) -> set[str]:
        """Jobs whose certificates are drawn again: the disturbed ones, and some others."""
        calm = sorted(
            job_id for job_id, job in self.load.ended.items()
            if job["certificate"] and job_id not in self.disturbed
        )  # fmt: skip
        return self.disturbed | set(random.Random(1).sample(calm, min(SAMPLE, len(calm))))

    @cached_property
    def wrong(self) -> list[str]:
        """Jobs that failed, whose figures don't follow from their counts, or counts not from their seed."""
        auditor = Auditor(self.site, lambda _: self.image)
        return [_told(job) for job in self.load.ended.values() if not self._right(auditor, job)]

    def _right(self, auditor: Auditor, job: dict) -> bool:
        if job["status"] == "failed":
            return False
        if job["certificate"] is None:
            return bool(job["status"] == "cancelled")
        certificate = Certificate.model_validate(job["certificate"])
        if certificate.input != self.image.digest or not _holds(_figures(certificate)):
            return False
        return job["id"] not in self.redrawn or auditor.right(job)

    @cached_property
    def lost(self) -> list[str]:
        return sorted(self.load.accepted - set(self.load.ended))

    @cached_property
    def twice(self) -> list[str]:
        """Jobs that changed after their end, were ended by two workers, or were made twice under one key."""
        return [*self.load.changed, *Auditor(self.site).finished_twice(), *self.load.ledger.doubled]

    @property
    def unforeseen(self) -> list[str]:
        return [*map(str, self.load.ledger.unforeseen()), *self.load.wrong_answers]

    @property
    def missed(self) -> list[str]:
        """Faults that must cost attempts and never did."""
        cost = {strike.fault for strike in self.strikes if self._attempts(strike) > 0}
        return [fault for fault in BITING if fault in {one.fault for one in self.strikes} - cost]

    @property
    def grown(self) -> list[str]:
        """What should be flat and is not, or never expires and should."""
        keys = [one.key for one in self.keys if not one.is_bounded]
        if self.minutes < ENOUGH:
            return keys
        return keys + [name for name, course in self.footprint.judged().items() if not course.is_flat]

    def faults(self) -> list[str]:
        """Why this soak failed; nothing when it did not."""
        found = {
            "lost": self.lost, "twice": self.twice, "wrong": self.wrong, "unforeseen": self.unforeseen,
            "missed": self.missed, "grown": self.grown,
        }  # fmt: skip
        return [f"{what}: {one}" for what, names in found.items() for one in names]

    def markdown(self) -> str:
        """The whole report."""
        parts = (self._summary(), self._strikes(), self._memory(), self._keys())
        return "\n\n".join("\n".join(part) for part in parts)

    def _summary(self) -> Iterator[str]:
        load, ended = self.load, Counter(job["status"] for job in self.load.ended.values())
        yield f"{self.minutes:g} minutes, {len(self.strikes)} faults. Asked: {_listed(load.asked)}."
        yield f"Accepted jobs: {len(load.accepted)}; ended: {_listed(ended)}."
        yield (
            f"Disturbed: {len(self.disturbed)}; their votes were drawn again for this table, and those of "
            f"{len(self.redrawn - self.disturbed)} others, chosen at random."
        )
        yield ""
        yield line(
            [
                "lost",
                "twice",
                "wrong",
                "unforeseen answers",
                "slowest answer",
                "keys never expiring unforeseen",
            ]
        )
        yield line(["---:"] * 6)
        counts = [len(found) for found in (self.lost, self.twice, self.wrong, self.unforeseen)]
        keys = sum(not one.is_bounded for one in self.keys)
        yield line([*map(str, counts), f"{load.ledger.slowest:.2f} s", str(keys)])

    def _strikes(self) -> Iterator[str]:
        yield line(["fault", "times", "while its job ran", "took another attempt", "votes drawn again"])
        yield line(["---", *["---:"] * 4])
        for fault in sorted({one.fault for one in self.strikes}):
            yield line([fault, *map(str, self._cost([one for one in self.strikes if one.fault == fault]))])
        counts = self.site.store.metrics().count
        yield ""
        yield (
            f"Of all jobs, as the broker and the workers' book counted: {counts('lost', LENET, 'worker')} "
            f"tasks lost their worker, {counts('lost', LENET, 'child')} their process, "
            f"{counts('handed_back', LENET)} jobs were handed back, {sum(self.again.values())} of "
            f"{counts('votes', LENET)} votes were drawn again."
        )

    def _cost(self, strikes: list[Strike]) -> tuple[int, int, int, int]:
        jobs = [self.load.ended[one.job_id] for one in strikes if one.job_id in self.load.ended]
        retried = sum(self._attempts(one) > 0 for one in strikes)
        return len(strikes), sum(one.mid_job for one in strikes), retried, sum(map(self.votes, jobs))

    def _attempts(self, strike: Strike) -> int:
        return int(self.load.ended.get(strike.job_id, {}).get("attempts", 0))

    def _memory(self) -> Iterator[str]:
        yield line(["resident memory of (pid)", "start", "middle", "end", "flat"])
        yield line(["---", "---:", "---:", "---:", "---"])
        for name, course in self.footprint.judged().items():
            unit = (lambda size: f"{size:.0f}") if name == "keys" else (lambda size: f"{size / MIB:.0f} MiB")
            cells = map(unit, (course.start, course.middle, course.end))
            flat = "yes" if course.is_flat else "no"
            yield line([name, *cells, flat if self.minutes >= ENOUGH else "too short a run"])
        many, most = self.footprint.replaced()
        yield ""
        yield f"{many} others came and went with the faults; none held more than {most / MIB:.0f} MiB."

    def _keys(self) -> Iterator[str]:
        """A row for each kind of key: its first, how many there are, the most members of one."""
        yield line(["keys without expiry", "keys", "most members", "at most", "why"])
        yield line(["---", "---:", "---:", "---:", "---"])
        for said, alike in groupby(self.keys, key=lambda one: one.foreseen):
            found = list(alike)
            name = f"`{found[0].key}`" + ", ..." * (len(found) > 1)
            most, why = (str(said.most), said.why) if said else ("0", "unknown")
            yield line([name, str(len(found)), str(max(one.members for one in found)), most, why])


def _told(job: dict) -> str:
    """A job, and why it failed where it did."""
    return f"{job['id']}: {job['error']['detail']}" if job["error"] else str(job["id"])


def _figures(certificate: Certificate) -> str:
    """All of it but what differs between two that prove the same."""
    nothing = {"seed": "0" * 32, "issued_at": datetime.fromtimestamp(0, UTC)}
    return certificate.model_copy(update=nothing).model_dump_json()


@cache
def _holds(figures: str) -> bool:
    return verify(Certificate.model_validate_json(figures)).first_wrong is None


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.most_common())
