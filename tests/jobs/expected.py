"""What the record of jobs should do, in a few lines of Python: jobs, and the order in which they wait."""

from dataclasses import dataclass, field

from smoothcert.jobs.leases import Claim
from smoothcert.schemas.job import TERMINAL, Job

ATTEMPTS = 4
SINGLES = 4  # taken in a row while one of a batch waits


@dataclass
class Expected:
    """What a job should be. claim: the one that holds it. silent: its lease is over, nobody noticed yet."""

    lane: str
    status: str = "queued"
    claim: Claim | None = None
    holder: str | None = None
    silent: bool = False
    attempts: int = 0
    state: str | None = None
    samples: int = 0
    pinned: bool = False
    seed: str | None = None
    certified: bool = False
    end: Job | None = None

    def free(self, status: str) -> None:
        self.status, self.claim, self.holder, self.silent = status, None, None, False


@dataclass
class Machine:
    """The model's whole world: jobs, and the order in which they wait."""

    jobs: dict[str, Expected] = field(default_factory=dict)
    queue: list[str] = field(default_factory=list)
    passed: int = 0  # single jobs taken while one of a batch waited

    def open(self) -> int:
        return sum(job.status not in TERMINAL for job in self.jobs.values())

    def enqueue(self, job_id: str) -> None:
        self.jobs[job_id].free("queued")
        self.queue.append(job_id)

    def next_queued(self) -> str | None:
        """Takes the first of the lane whose turn it is."""
        lanes = {
            lane: [one for one in self.queue if self.jobs[one].lane == lane] for lane in ("single", "batch")
        }
        single, batch = lanes["single"], lanes["batch"]
        if not single and not batch:
            return None
        turn = batch if batch and (self.passed >= SINGLES or not single) else single
        self.passed = 0 if turn is batch else self.passed + bool(batch)
        self.queue.remove(turn[0])
        return turn[0]

    def claimed(self, named: str, worker: str) -> str | None:
        """Which job a worker gets that was sent this one."""
        job = self.jobs[named]
        if job.status == "running" and (job.silent or job.holder == worker):
            if job.attempts < ATTEMPTS:
                return named
            job.free("failed")
        return self.next_queued()
