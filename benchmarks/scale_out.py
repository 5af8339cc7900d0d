"""How far it scales: real workers, broker and job record, with an engine of fixed speed instead of a network.

.venv/bin/python benchmarks/scale_out.py                         about six minutes; or shorter:
.venv/bin/python benchmarks/scale_out.py --workers 1,2,4 --jobs 6 --seconds 10

The engine sleeps instead of computing, so that two cores carry sixteen workers; what is left is what scaling
costs: messages, ranges, states, certificates. Prints Markdown tables and where it bends; then who waits for
whom: a short job behind long ones, and many jobs that arrive at once.
"""

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import redis
from cluster import SPEED, Cluster, cluster, eventually

from smoothcert.schemas.job import Job

SMALL = 10_000  # votes of a small job: half a second
LONE = 5  # small jobs sent one after the other, for the latency of one that meets no queue
IDLE = 3.0  # seconds the broker is watched while nothing is asked
START = 180.0  # seconds for the workers to be ready
SEED = "0123456789abcdef" * 2
BEND = 0.9  # of linear: below it, it bends
MANY, MANY_SECONDS = 200, 2.0  # jobs that arrive at once, and how long each takes
LONG = 10_000_000  # votes: over eight minutes of one worker


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


def finished(cluster: Cluster, job_ids: Sequence[str], patience: float) -> list[Job]:
    """The jobs, once all of them have succeeded."""
    deadline, jobs = time.monotonic() + patience, []
    for job_id in job_ids:
        while not (job := cluster.job(job_id)).ended:
            assert time.monotonic() < deadline, f"{job_id} takes longer than {patience:.0f} s"
            time.sleep(0.5)  # the record says when it ended; looking costs the broker too
        assert job.status == "succeeded", job.error
        jobs.append(job)
    return jobs


def span(jobs: Sequence[Job]) -> float:
    """Seconds from the first start to the last end, by the broker's clock."""
    starts, ends = [job.started_at for job in jobs], [job.finished_at for job in jobs]
    return (max(end for end in ends if end) - min(start for start in starts if start)).total_seconds()


def backlog(cluster: Cluster, count: int) -> tuple[float, Load, Load]:
    """Small jobs, all there before the first is taken: jobs per second, the broker's work, and when idle."""
    before = Load.now(cluster.client)
    time.sleep(IDLE)
    idle = Load.now(cluster.client).since(before)
    before = Load.now(cluster.client)
    submitted = [cluster.submit(SMALL, send=False) for _ in range(count)]
    for _, send in submitted:
        send()
    job_ids = [job_id for job_id, _ in submitted]
    jobs = finished(cluster, job_ids, 60 + count * SMALL / SPEED)
    return count / span(jobs), Load.now(cluster.client).since(before, idle), idle


def lone(cluster: Cluster) -> float:
    """Seconds from submission to certificate of a job that finds everybody idle; the median of LONE."""
    seconds = []
    for _ in range(LONE):
        (job,) = finished(cluster, [cluster.submit(SMALL)[0]], 60)
        assert job.finished_at is not None
        seconds.append((job.finished_at - job.created_at).total_seconds())
    return statistics.median(seconds)


def large(cluster: Cluster, votes: int) -> tuple[float, tuple[int, ...]]:
    """Seconds that one large job takes, and its counts."""
    job_id, _ = cluster.submit(votes, seed=SEED)
    (job,) = finished(cluster, [job_id], 60 + 3 * votes / SPEED)
    assert job.certificate is not None
    assert job.certificate.n == votes
    return span([job]), tuple(job.certificate.counts)


def measure(cluster: Cluster, workers: int, jobs: int, votes: int) -> Row:
    cluster.staff(workers, START)
    rate, broker, idle = backlog(cluster, jobs * workers)
    alone = lone(cluster)
    seconds, counts = large(cluster, votes)
    print(f"{workers} workers: {rate:.2f} jobs/s, large job {seconds:.2f} s", file=sys.stderr, flush=True)
    return Row(workers, rate, alone, seconds, counts, jobs * workers, broker, idle)


def passing(cluster: Cluster, workers: int) -> list[float]:
    """Seconds until a short job begins that arrives behind one long job a worker, five times."""
    long = [cluster.submit(LONG)[0] for _ in range(workers)]
    eventually(lambda: all(cluster.job(job_id).progress.samples for job_id in long), 60)
    seconds = []
    for _ in range(5):
        job_id, _ = cluster.submit(SMALL)
        job = eventually(lambda: now if (now := cluster.job(job_id)).started_at else None, 60)  # noqa: B023
        seconds.append((job.started_at - job.created_at).total_seconds())  # type: ignore[operator]
        print(f"passing: {seconds[-1]:.2f} s", file=sys.stderr, flush=True)
        finished(cluster, [job_id], 60)
    for job_id in long:
        cluster.store.cancel(job_id)
    return seconds


def crowd(cluster: Cluster, workers: int) -> tuple[float, float]:
    """Mean latency of jobs that arrive at once, and what first come, first served would give, in seconds."""
    job_ids = [cluster.submit(int(MANY_SECONDS * SPEED))[0] for _ in range(MANY)]
    jobs = finished(cluster, job_ids, 60 + 2 * MANY * MANY_SECONDS / workers)
    latencies = [(job.finished_at - job.created_at).total_seconds() for job in jobs]  # type: ignore[operator]
    ideal = [MANY_SECONDS * (place // workers + 1) for place in range(MANY)]
    return statistics.mean(latencies), statistics.mean(ideal)


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
    counts = [int(workers) for workers in asked.workers.split(",")]
    with cluster() as built:
        rows = [measure(built, workers, asked.jobs, votes) for workers in counts]
        waits = passing(built, counts[-1])
        mean, ideal = crowd(built, counts[-1])
    print(
        f"{os.cpu_count()} cores, {platform.machine()}; {SPEED:,} votes/s each, small job {SMALL:,} votes\n"
    )
    print(f"{speed_table(rows, votes)}\n\n{broker_table(rows)}\n\n{bends(rows)}\n")
    print(
        f"A short job behind {counts[-1]} of {LONG:,} votes begins after {statistics.median(waits):.2f} s "
        f"(at most {max(waits):.2f} s). {MANY} jobs of {MANY_SECONDS:g} s at once, {counts[-1]} workers: "
        f"mean latency {mean:.1f} s; first come, first served without overhead: {ideal:.1f} s."
    )


if __name__ == "__main__":
    main()
