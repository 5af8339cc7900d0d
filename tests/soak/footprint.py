"""What grows: resident memory of every process over time, and keys of the broker that never expire."""

import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import redis

from tests.faults.site import Site

LOOK = 2.0  # seconds between two looks
MIB = 2**20
GROWTH = 8 * MIB  # bytes that a process may have more at the end than at the start, or
SHARE = 0.05  # of the start, whichever is more: that is called flat
KEYS_SHARE = 0.25  # of the keys: as many jobs as were just asked for are there
LIFE = 0.9  # of the time that is judged, which a process must have lived through
TENTH = 10  # start, middle and end are medians over a tenth of the time each


@dataclass(frozen=True)
class Foreseen:
    """Keys that may have no expiry once every job has ended. most: fields or members, where one model is."""

    most: int
    why: str


LASTING = {
    "{smoothcert}:metrics": Foreseen(100, "the counters of /metrics: as many fields whatever happens"),
    "{smoothcert}:queues": Foreseen(4, "the queues in which jobs wait"),
    "_kombu.binding*": Foreseen(3, "Celery's lists of queues: an entry a queue"),
    "unacked*": Foreseen(60, "messages of workers that died, until the visibility timeout"),
}


@dataclass(frozen=True)
class Course:
    """One figure over the time that is judged. may_grow: by how much it may, and is called flat."""

    start: float
    middle: float
    end: float
    may_grow: float

    @classmethod
    def of(cls, name: str, samples: list[float]) -> "Course":
        width, half = max(1, len(samples) // TENTH), len(samples) // 2
        middle = samples[max(0, half - width // 2) :][:width]
        start = median(samples[:width])
        may_grow = KEYS_SHARE * start if name == "keys" else max(GROWTH, SHARE * start)
        return cls(start, median(middle), median(samples[-width:]), may_grow)

    @property
    def is_flat(self) -> bool:
        return self.end - self.start <= self.may_grow


class Footprint:
    """Looks at every process of a site, again and again."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._samples: dict[str, list[float]] = {}
        self._looks = 0

    def follow(self, until: threading.Event) -> None:
        """Looks until it is told to stop."""
        while not until.wait(LOOK):
            self.look()

    def look(self) -> None:
        """One sample of everything. A broker that is away tells nothing."""
        self._looks += 1
        for name, pid in _processes(self._site).items():
            if size := _resident(pid):
                self._samples.setdefault(name, []).append(size)
        with suppress(redis.RedisError, OSError):
            self._samples.setdefault("keys", []).append(float(self._site.client.dbsize()))

    def judged(self) -> dict[str, Course]:
        """By process (and "keys"), of those that lived through it."""
        return {
            name: Course.of(name, samples)
            for name, samples in self._samples.items()
            if len(samples) >= LIFE * self._looks
        }

    def replaced(self) -> tuple[int, float]:
        """How many processes came and went, and the most bytes that one of them held."""
        gone = [max(one) for one in self._samples.values() if len(one) < LIFE * self._looks]
        return len(gone), max(gone, default=0.0)


def _processes(site: Site) -> dict[str, int]:
    """Process ids by what they are."""
    pids = {"broker": site.broker.pid, "service": site.service.pid}
    for worker in site.alive():
        pids[worker.log.stem] = worker.process.pid
        with suppress(OSError):  # ended meanwhile
            pids |= {f"{worker.log.stem}'s child": child for child in worker.children()}
    return {f"{role} ({pid})": pid for role, pid in pids.items()}


def _resident(pid: int) -> int:
    """Bytes; 0 when it has ended meanwhile."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = [row for row in status.splitlines() if row.startswith("VmRSS")]
    return int(found[0].split()[1]) * 1024 if found else 0


@dataclass(frozen=True)
class Lasting:
    """A key without expiry. members: its fields, members or items."""

    key: str
    members: int

    @property
    def foreseen(self) -> Foreseen | None:
        """What may be said for it, if anything."""
        return next((said for name, said in LASTING.items() if self.key.startswith(name.rstrip("*"))), None)

    @property
    def is_bounded(self) -> bool:
        return self.foreseen is not None and self.members <= self.foreseen.most


def lasting(client: redis.Redis) -> list[Lasting]:
    """Every key that never expires."""
    keys = [key for key in client.scan_iter(count=1000) if client.ttl(key) == -1]
    return [Lasting(key.decode(), _members(client, key)) for key in sorted(keys)]


def _members(client: redis.Redis, key: bytes) -> int:
    kind = client.type(key).decode()  # type: ignore[union-attr]
    size = {"hash": client.hlen, "set": client.scard, "zset": client.zcard, "list": client.llen}.get(kind)
    return int(size(key)) if size else 1  # type: ignore[arg-type]
