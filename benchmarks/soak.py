"""A real deployment under mixed load with a fault every 30 seconds: what is lost, doubled, wrong; what grows.

.venv/bin/python -m benchmarks.soak --minutes 20    prints Markdown; --write puts it into docs/reliability.md

Faults that replace the service or the broker come in the first third only, so that what the memory of
these two does afterwards can be seen. Two workers with the bundled LeNet; the order of faults is fixed.
"""

import argparse
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from certification.contract.certificate import Certificate
from certification.verify import verify
from tests.faults import blows
from tests.faults.audit import Auditor
from tests.faults.blows import Scene
from tests.faults.callers import DIGIT, TERMINAL, Caller, Ledger
from tests.faults.site import LENET, Plan, Site, standing
from tests.faults.table import line, write

EVERY = 30.0  # seconds between two faults
SETTLE = 60.0  # seconds before memory is looked at first
PATIENCE = 180.0  # seconds that the last jobs get to end
SHARE = 10  # one in so many undisturbed certificates is drawn again; disturbed ones are all
LASTING = {  # keys that may have no expiry, and why
    "{smoothcert}:figures": "the counters of /metrics: one hash, as many fields whatever happens",
    "_kombu.binding*": "Celery's lists of queues: one entry a model",
    "certify.*": "messages that wait to be delivered: emptied by workers",
    "unacked*": "messages that are being worked on: emptied by acknowledgement",
}
ANY_TIME = (blows.kill_child, blows.kill_parent, blows.freeze_worker, blows.cut_connections)
EARLY = (blows.kill_service, blows.kill_broker, blows.broker_swallows)


@dataclass
class Soak:
    """What is going on. ended: jobs as they were first seen to have ended."""

    site: Site
    pause: float
    ledger: Ledger = field(default_factory=Ledger)
    ended: dict[str, dict] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    wrong_answers: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    chance: random.Random = field(default_factory=lambda: random.Random(1))

    def mix(self) -> None:
        """One call after the other, until it is over."""
        caller, picture = Caller(self.site.base_url, self.ledger), DIGIT.read_bytes()
        kinds: dict[str, tuple[int, Callable[[Caller, bytes], None]]] = {
            "single": (10, self._single),
            "batch": (2, self._batch),
            "cancelled": (3, self._cancelled),
            "repeated": (3, self._repeated),
            "bad upload": (2, self._bad),
        }
        while not self.over.wait(self.pause):
            name = self.chance.choices(list(kinds), [weight for weight, _ in kinds.values()])[0]
            self.asked[name] += 1
            kinds[name][1](caller, picture)

    def _single(self, caller: Caller, picture: bytes) -> None:
        caller.post(self.chance.choice((200, 500, 2000)), picture)

    def _cancelled(self, caller: Caller, picture: bytes) -> None:
        job_id = caller.post(20_000, picture)
        self.over.wait(self.chance.random() * 3)
        caller.call("POST", f"/jobs/{job_id}/cancel")

    def _repeated(self, caller: Caller, picture: bytes) -> None:
        key = uuid4().hex
        for _ in range(3):
            caller.post(200, picture, key)

    def _batch(self, caller: Caller, picture: bytes) -> None:
        key = uuid4().hex
        while not self.over.is_set():
            files = [("image", (f"{i}.png", picture)) for i in range(4)]
            told = caller.call(
                "POST", "/batches", files=files, data={"n": 200}, headers={"Idempotency-Key": key}
            )
            if told is not None and told.status_code == 202:
                for number, job in enumerate(told.json()["jobs"]):
                    self.ledger.promise(f"{key}/{number}", job["id"])
                return
            time.sleep(0.5)

    def _bad(self, caller: Caller, picture: bytes) -> None:
        told = caller.call("POST", "/certify", files={"image": picture[: len(picture) // 2]}, data={"n": 200})
        if told is not None and told.status_code not in (415, 503):
            self.wrong_answers.append(f"half a picture: {told.status_code}")

    def follow(self) -> None:
        """Notes every job as it ends."""
        caller = Caller(self.site.base_url, self.ledger)
        while not self.over.wait(1.0):
            self.note_ends(caller)

    def note_ends(self, caller: Caller) -> None:
        for job_id in set(self.ledger.accepted.values()) - set(self.ended):
            job = caller.job(job_id)
            if job is not None and job["status"] in TERMINAL:
                self.ended[job_id] = job

    def strike(self, early: bool) -> None:
        """One fault, and the supervisor's hand afterwards. The second worker's parent is spared."""
        blow = self.chance.choice(ANY_TIME + EARLY if early else ANY_TIME)
        self.faults[blow.__name__.replace("_", " ")] += 1
        victims = [worker for worker in self.site.alive() if worker.children()]
        victim = next((one for one in victims if one.log.stem != "worker-2"), victims[0])
        scene = Scene(self.site, Caller(self.site.base_url, self.ledger), "", victim=victim)
        for _ in blow(scene):
            pass
        self.site.restaff()


def memory(site: Site) -> dict[str, int]:
    """Resident bytes of every process, by what it is and its pid."""
    pids = {"broker": site.broker.pid, "service": site.service.pid}
    for worker in site.alive():
        pids[worker.log.stem] = worker.process.pid
        pids |= {f"{worker.log.stem}'s child": child for child in worker.children()}
    return {f"{role} ({pid})": _resident(pid) for role, pid in pids.items()}


def _resident(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0  # ended meanwhile
    found = [row for row in status.splitlines() if row.startswith("VmRSS")]
    return int(found[0].split()[1]) * 1024 if found else 0


def run(soak: Soak, seconds: float) -> list[dict[str, int]]:
    """Load, faults and three looks at the memory."""
    start, looks = time.monotonic(), []
    threads = [threading.Thread(target=what, daemon=True) for what in (soak.mix, soak.mix, soak.follow)]
    for thread in threads:
        thread.start()
    marks = iter([min(SETTLE, seconds / 6), seconds / 2, seconds])
    mark, blow = next(marks), EVERY
    while (now := time.monotonic() - start) < seconds:
        if now >= mark:
            looks.append(memory(soak.site))
            mark = next(marks)
        if now >= blow and now < seconds - 5:
            soak.strike(early=now < seconds / 3)
            blow += EVERY
        time.sleep(0.2)
    looks.append(memory(soak.site))
    soak.over.set()
    for thread in threads:
        thread.join()
    return looks


def settle(soak: Soak) -> None:
    """The last jobs end."""
    caller, deadline = Caller(soak.site.base_url, soak.ledger), time.monotonic() + PATIENCE
    while set(soak.ledger.accepted.values()) - set(soak.ended) and time.monotonic() < deadline:
        soak.note_ends(caller)
        time.sleep(0.2)


def wrong(soak: Soak) -> list[str]:
    """Jobs whose certificates don't follow from their counts, or their counts not from their seed."""
    auditor, found = Auditor(soak.site), []
    for number, (job_id, job) in enumerate(sorted(soak.ended.items())):
        if job["status"] == "failed":
            found.append(job_id)
        elif job["certificate"] is not None:
            stated = verify(Certificate.model_validate(job["certificate"])).first_wrong is None
            redraw = job["attempts"] > 1 or number % SHARE == 0
            if not stated or (redraw and not auditor.right(job)):
                found.append(job_id)
    return found


def lasting(site: Site) -> list[str]:
    """Keys that never expire and are not among those that may."""
    may = tuple(name.rstrip("*") for name in LASTING)
    keys = [key.decode() for key in site.client.scan_iter(count=1000) if site.client.ttl(key) == -1]
    return [key for key in keys if not key.startswith(may)]


def report(soak: Soak, looks: list[dict[str, int]], minutes: float) -> Iterator[str]:
    """Markdown."""
    accepted, ended = (
        set(soak.ledger.accepted.values()),
        Counter(job["status"] for job in soak.ended.values()),
    )
    twice = [*Auditor(soak.site).twice(soak.ended), *soak.ledger.doubled]
    retried = sum(job["attempts"] > 1 for job in soak.ended.values())
    yield f"{minutes:g} minutes, {sum(soak.faults.values())} faults: " + _listed(soak.faults) + "."
    yield f"Asked: {_listed(soak.asked)}. Accepted jobs: {len(accepted)}; ended: {_listed(ended)}."
    yield f"{retried} needed more than one attempt."
    yield ""
    yield line(["lost", "twice", "wrong", "unforeseen answers", "slowest answer", "keys without expiry"])
    yield line(["---:"] * 6)
    unforeseen = len(soak.ledger.unforeseen()) + len(soak.wrong_answers)
    figures = [len(accepted - set(soak.ended)), len(twice), len(wrong(soak)), unforeseen]
    yield line([*map(str, figures), f"{soak.ledger.slowest:.2f} s", ", ".join(lasting(soak.site)) or "0"])
    yield ""
    yield line(["resident memory of (pid)", "start", "middle", "end"])
    yield line(["---", "---:", "---:", "---:"])
    for process in sorted({name for look in looks for name in look}):
        cells = [f"{look[process] / 2**20:.0f} MiB" if process in look else "–" for look in looks]
        yield line([process, *cells])


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.most_common())


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--minutes", type=float, default=20.0)
    options.add_argument("--pause", type=float, default=1.0, help="seconds between two calls of a caller")
    options.add_argument("--write", action="store_true", help="into docs/reliability.md, too")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, standing(Path(folder) / "site", Plan(model=LENET)) as site:
        soak = Soak(site, chosen.pause)
        looks = run(soak, chosen.minutes * 60)
        settle(soak)
        text = "\n".join(report(soak, looks, chosen.minutes))
        print(text)
    if chosen.write:
        write(text, "soak")


if __name__ == "__main__":
    main()
