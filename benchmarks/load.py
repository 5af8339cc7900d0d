"""Many callers while the worker is busy, and a long queue against a short one. Prints Markdown.

    python benchmarks/load.py --seconds 60 --clients 64

Service, worker and broker run as `smoothcert up` starts them, on loopback; the callers are one process more
on the same cores. Two phases: callers who wait a second between two requests, as `Retry-After` asks them to,
then callers who never wait. Each posts an image, then looks at its job three times, and starts over.
The queue's cap is raised, as every job asked for is 100 000 votes of the worker's time.
"""

import argparse
import asyncio
import os
import platform
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from light_http import Answer, Connection, get, post
from stack import Holding, Stack, stack

DIGIT = (Path(__file__).resolve().parent.parent / "tests" / "data" / "digit-7.png").read_bytes()
POST = post("/certify", {"n": "100000"}, [DIGIT])
LOOKS = 3  # at a job after each submission
BATCH = 250  # images a request, to fill the queue
PROBES = 300  # requests of each kind to a short and to a long queue


@dataclass
class Log:
    """What the callers saw. Seconds by kind of request; errors by what they were."""

    seconds: dict[str, list[float]] = field(
        default_factory=lambda: {"POST /certify": [], "GET /jobs/{id}": []}
    )
    errors: Counter[str] = field(default_factory=Counter)

    def note(self, kind: str, answer: Answer, expected: int) -> None:
        self.seconds[kind].append(answer.seconds)
        if answer.status != expected:
            self.errors[f"{kind} {answer.status}"] += 1


def share(seconds: Sequence[float], of: float) -> float:
    """The quantile, milliseconds."""
    ordered = sorted(seconds)
    return 1000 * ordered[min(int(of * len(ordered)), len(ordered) - 1)] if ordered else float("nan")


async def submit_and_look(service: Connection, log: Log, pause: float) -> None:
    """One round of a caller."""
    posted = await service.ask(POST)
    log.note("POST /certify", posted, 202)
    await asyncio.sleep(pause)
    if posted.status != 202:
        return
    look = get(posted.json()["links"]["self"])
    for _ in range(LOOKS):
        log.note("GET /jobs/{id}", await service.ask(look), 200)
        await asyncio.sleep(pause)


async def caller(port: int, log: Log, until: float, pause: float, delay: float) -> None:
    """Rounds until the time is over; a connection that breaks is an error, and made anew."""
    await asyncio.sleep(delay)
    while time.monotonic() < until:
        try:
            async with Connection("127.0.0.1", port) as service:
                while time.monotonic() < until:
                    await submit_and_look(service, log, pause)
        except (OSError, asyncio.IncompleteReadError) as error:
            log.errors[type(error).__name__] += 1


async def crowd(
    port: int, clients: int, seconds: float, pause: float, site: Stack
) -> tuple[Log, list[dict[str, Holding]]]:
    """All callers at once; what the parts hold at the start, in the middle and at the end."""
    log, until = Log(), time.monotonic() + seconds
    callers = [caller(port, log, until, pause, pause * i / clients) for i in range(clients)]
    running = asyncio.gather(*callers)
    held = []
    for moment in (0.1, 0.5, 0.95):
        await asyncio.sleep(max(0.0, until - seconds * (1 - moment) - time.monotonic()))
        held.append(site.holdings())
    await running
    return log, held


async def probe(port: int) -> Log:
    """One caller alone, who never waits."""
    log = Log()
    async with Connection("127.0.0.1", port) as service:
        for _ in range(PROBES // LOOKS):
            await submit_and_look(service, log, 0.0)
    return log


async def fill(port: int, jobs: int) -> None:
    """So many jobs more in the queue, sent as batches."""
    async with Connection("127.0.0.1", port) as service:
        for start in range(0, jobs, BATCH):
            size = min(BATCH, jobs - start)
            answer = await service.ask(post("/batches", {"n": "100000"}, [DIGIT] * size))
            assert answer.status == 202, answer.body


def tell(title: str, log: Log, seconds: float) -> None:
    print(f"\n### {title}\n\n| request | a second | p50 ms | p99 ms | slowest ms |\n|---|---|---|---|---|")
    for kind, found in log.seconds.items():
        figures = (share(found, 0.5), share(found, 0.99), share(found, 1))
        print(
            f"| {kind} | {len(found) / seconds:.0f} | " + " | ".join(f"{one:.1f}" for one in figures) + " |"
        )
    print(f"\nErrors: {dict(log.errors) or 'none'}.")


def tell_holdings(held: list[dict[str, Holding]]) -> None:
    print("\n| part | resident MB: start, middle, end | connections | processor seconds |\n|---|---|---|---|")
    for part in held[0]:
        resident = ", ".join(f"{one[part].resident:.0f}" for one in held)
        connections = ", ".join(str(one[part].connections) for one in held)
        print(f"| {part} | {resident} | {connections} | {held[-1][part].cpu - held[0][part].cpu:.1f} |")


def crowds(port: int, clients: int, seconds: float) -> None:
    """The phases with many callers, each on a fresh stack."""
    for title, pause in (("a second between two requests", 1.0), ("never waiting", 0.0)):
        with stack(port, max_queued=10_000_000) as site:
            log, held = asyncio.run(crowd(port, clients, seconds, pause, site))
        tell(f"{clients} callers for {seconds:.0f} s, {title}, worker busy", log, seconds)
        tell_holdings(held)


def queues(port: int, lengths: tuple[int, int]) -> None:
    """What a submission and a look cost with a short queue and with a long one."""
    with stack(port, max_queued=10_000_000) as site:
        asyncio.run(probe(port))  # what the first requests load
        logs, filled = [], 0
        for length in lengths:
            asyncio.run(fill(port, length - filled))
            filled = length
            before = site.holdings()["broker"].cpu
            logs.append((length, asyncio.run(probe(port)), site.holdings()["broker"].cpu - before))
    print("\n### Length of the queue\n\n| jobs waiting | POST p50 ms | look p50 ms | broker, ms a request |")
    print("|---|---|---|---|")
    for length, log, spent in logs:
        requests = sum(map(len, log.seconds.values()))
        medians = " | ".join(f"{1000 * statistics.median(found):.2f}" for found in log.seconds.values())
        print(f"| {length} and up | {medians} | {1000 * spent / requests:.2f} |")


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--clients", type=int, default=64)
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--queue", type=int, default=10_000)
    options.add_argument("--port", type=int, default=8124)
    chosen = options.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, callers on the same ones")
    crowds(chosen.port, chosen.clients, chosen.seconds)
    queues(chosen.port, (10, chosen.queue))


if __name__ == "__main__":
    main()
