"""How far it scales: real workers, broker and job record, with an engine of fixed speed instead of a network.

.venv/bin/python benchmarks/scale_out.py                         about four minutes; or shorter:
.venv/bin/python benchmarks/scale_out.py --workers 1,2,4 --jobs 6 --seconds 10

The stand-in sleeps instead of computing, so that two cores carry sixteen workers; what is left is what
scaling costs: messages, claims, reports, portions, certificates. Prints Markdown tables and where it bends.
"""

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from smoothcert.cli.local_broker import Broker  # noqa: E402
from smoothcert.jobs.broker import connect  # noqa: E402
from smoothcert.schemas.job import Job  # noqa: E402
from tests.worker.conftest import write_model  # noqa: E402
from tests.worker.plant import MODEL, Plant, eventually  # noqa: E402

SPEED = 20_000  # votes per second of one stand-in
SMALL = 10_000  # votes of a small job: half a second
LONE = 5  # small jobs sent one after the other, for the latency of one that meets no queue
IDLE = 3.0  # seconds the broker is watched while nothing is asked
START = 180.0  # seconds for the workers to be ready
SEED = "0123456789abcdef" * 2
BEND = 0.9  # of linear: below it, it bends
DEPLOYED = {  # the worker's own defaults, where the tests' plant has shorter ones
    "SMOOTHCERT_LEASE": 10,
    "SMOOTHCERT_GRACE": 5,
    "SMOOTHCERT_JANITOR": 1,
    "SMOOTHCERT_CHUNK": 0.25,
    "SMOOTHCERT_QUANTUM": 10,
    "SMOOTHCERT_BEAT": 2,
    "STAND_IN_SPEED": SPEED,
    "OMP_NUM_THREADS": 1,
}


@dataclass(frozen=True)
class Load:
    """What the broker has done so far: requests read, commands run (in scripts too), seconds of CPU."""

    reads: float
    commands: float
    cpu: float
    at: float

    @classmethod
    def now(cls, client: redis.Redis) -> "Load":
        said = client.info("everything")
        cpu = said["used_cpu_user_main_thread"] + said["used_cpu_sys_main_thread"]
        return cls(said["total_reads_processed"], said["total_commands_processed"], cpu, time.monotonic())

    def since(self, before: "Load", idle: "Load | None" = None) -> "Load":
        """The difference; without what so much time costs anyway, told by `idle`."""
        seconds = self.at - before.at
        share = seconds / idle.at if idle else 0.0
        spent = (self.reads - before.reads, self.commands - before.commands, self.cpu - before.cpu)
        quiet = (idle.reads, idle.commands, idle.cpu) if idle else (0.0, 0.0, 0.0)
        return Load(*(all_ - share * part for all_, part in zip(spent, quiet, strict=True)), seconds)


@dataclass(frozen=True)
class Row:
    """One number of workers. Times in seconds; broker: for all small jobs; idle: for IDLE seconds."""

    workers: int
    rate: float  # small jobs per second
    lone: float
    large: float
    counts: tuple[int, ...]
    jobs: int
    broker: Load
    idle: Load


def staff(plant: Plant, workers: int) -> None:
    """Starts those that are missing, and waits until each takes jobs."""
    while len(plant.workers) < workers:
        plant.launch(**DEPLOYED)
    eventually(lambda: _ready(plant) == workers, START)


def _ready(plant: Plant) -> int:
    known = set(plant.client.hkeys(f"{plant.store.root}:workers:platform"))
    return sum(info.ready and info.id.encode() in known for info in plant.store.workers())


def finished(plant: Plant, job_ids: Sequence[str], patience: float) -> list[Job]:
    """The jobs, once all of them have succeeded."""
    deadline, jobs = time.monotonic() + patience, []
    for job_id in job_ids:
        while not (job := plant.job(job_id)).ended:
            assert time.monotonic() < deadline, f"{job_id} takes longer than {patience:.0f} s"
            time.sleep(0.5)  # the record says when it ended; looking costs the broker too
        assert job.status == "succeeded", job.error
        jobs.append(job)
    return jobs


def span(jobs: Sequence[Job]) -> float:
    """Seconds from the first start to the last end, by the broker's clock."""
    starts, ends = [job.started_at for job in jobs], [job.finished_at for job in jobs]
    return (max(end for end in ends if end) - min(start for start in starts if start)).total_seconds()


def backlog(plant: Plant, count: int) -> tuple[float, Load, Load]:
    """Small jobs, all there before the first is taken: jobs per second, the broker's work, and when idle."""
    before = Load.now(plant.client)
    time.sleep(IDLE)
    idle = Load.now(plant.client).since(before)
    before = Load.now(plant.client)
    job_ids = [plant.submit(SMALL, send=False) for _ in range(count)]
    for job_id in job_ids:
        plant.courier.send(job_id, MODEL)
    jobs = finished(plant, job_ids, 60 + count * SMALL / SPEED)
    return count / span(jobs), Load.now(plant.client).since(before, idle), idle


def lone(plant: Plant) -> float:
    """Seconds from submission to certificate of a job that finds everybody idle; the median of LONE."""
    seconds = []
    for _ in range(LONE):
        (job,) = finished(plant, [plant.submit(SMALL)], 60)
        assert job.finished_at is not None
        seconds.append((job.finished_at - job.created_at).total_seconds())
    return statistics.median(seconds)


def large(plant: Plant, votes: int) -> tuple[float, tuple[int, ...]]:
    """Seconds that one large job takes, and its counts."""
    job_id = plant.submit(votes, send=False)
    plant.seed(job_id, SEED)
    plant.courier.send(job_id, MODEL)
    (job,) = finished(plant, [job_id], 60 + 3 * votes / SPEED)
    assert job.certificate is not None
    assert job.certificate.n == votes
    return span([job]), tuple(job.certificate.counts)


def measure(plant: Plant, workers: int, jobs: int, votes: int) -> Row:
    staff(plant, workers)
    rate, broker, idle = backlog(plant, jobs * workers)
    alone = lone(plant)
    seconds, counts = large(plant, votes)
    print(f"{workers} workers: {rate:.2f} jobs/s, large job {seconds:.2f} s", file=sys.stderr, flush=True)
    return Row(workers, rate, alone, seconds, counts, jobs * workers, broker, idle)


@contextmanager
def plant() -> Iterator[Plant]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder / MODEL)
        with Broker.start(folder / "broker") as broker, connect(broker.url) as client:
            built = Plant(broker.url, folder, client)
            try:
                yield built
            finally:
                built.close()


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def speed_table(rows: Sequence[Row], votes: int) -> str:
    """Throughput and latency. The ideal of a small job is SMALL / SPEED seconds."""
    one = rows[0]
    head = ["workers", "small jobs/s", "× one", "lone job, s", f"large job ({votes:,} votes), s", "× one"]
    body = [
        [
            str(row.workers),
            f"{row.rate:.2f}",
            f"{row.rate / one.rate:.2f}",
            f"{row.lone:.3f}",
            f"{row.large:.2f}",
            f"{one.large / row.large:.2f}",
        ]
        for row in rows
    ]
    return table(head, body)


def broker_table(rows: Sequence[Row]) -> str:
    head = ["workers", "requests a job", "commands a job", "broker ms a job", "idle: commands/s", "idle: CPU"]
    body = [
        [
            str(row.workers),
            f"{row.broker.reads / row.jobs:.0f}",
            f"{row.broker.commands / row.jobs:.0f}",
            f"{1000 * row.broker.cpu / row.jobs:.2f}",
            f"{row.idle.commands / row.idle.at:.0f}",
            f"{100 * row.idle.cpu / row.idle.at:.1f} %",
        ]
        for row in rows
    ]
    return table(head, body)


def bends(rows: Sequence[Row]) -> str:
    """Up to where each stays close to linear, and what the broker could carry."""
    one = rows[0]
    small = [r.workers for r in rows if r.rate / one.rate >= BEND * r.workers / one.workers]
    large = [r.workers for r in rows if one.large / r.large >= BEND * r.workers / one.workers]
    cost = rows[-1].broker.cpu / rows[-1].jobs
    same = "equal" if len({row.counts for row in rows}) == 1 else "NOT EQUAL"
    return (
        f"Within {1 - BEND:.0%} of linear up to {max(small)} workers (small jobs), {max(large)} (one large). "
        f"At {1000 * cost:.2f} ms a job one broker core carries {1 / cost:.0f} small jobs/s.\n"
        f"Counts of the large job: {same} for every number of workers."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--workers", default="1,2,4,8,16", help="numbers of workers, ascending")
    parser.add_argument("--jobs", type=int, default=16, help="small jobs for each worker")
    parser.add_argument("--seconds", type=float, default=40.0, help="of the large job on one worker")
    asked = parser.parse_args()
    votes = int(asked.seconds * SPEED)
    with plant() as built:
        rows = [measure(built, int(workers), asked.jobs, votes) for workers in asked.workers.split(",")]
    print(
        f"{os.cpu_count()} cores, {platform.machine()}; {SPEED:,} votes/s each, small job {SMALL:,} votes\n"
    )
    print(f"{speed_table(rows, votes)}\n\n{broker_table(rows)}\n\n{bends(rows)}")


if __name__ == "__main__":
    main()
