"""The mixed load: callers who post, cancel and repeat, and one who notes how every job ends."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import uuid4

from smoothcert.errors import BrokerUnavailable
from tests.faults.audit import Auditor
from tests.faults.callers import DIGIT, TERMINAL, Caller, Ledger
from tests.faults.site import Site

PICTURE = DIGIT.read_bytes()
WEIGHTS = {"single": 10, "batch": 2, "cancelled": 3, "repeated": 3, "bad upload": 2}
LOOK = 1.0  # seconds between two looks at the jobs that have not ended


@dataclass
class Load:
    """What was asked and what came of it. ended: jobs as they were first seen to have ended. changed: jobs
    that were otherwise `settled` seconds later, which is longer than any fault keeps a late writer.
    """

    site: Site
    pause: float  # seconds between two calls of a caller
    settled: float  # seconds
    ledger: Ledger = field(default_factory=Ledger)
    ended: dict[str, dict] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    wrong_answers: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    _again: dict[str, float] = field(default_factory=dict)  # when each job is to be looked at again

    @property
    def accepted(self) -> set[str]:
        return set(self.ledger.accepted.values())

    def mix(self, seed: int) -> None:
        """One call after the other, until it is over."""
        chance, caller = random.Random(seed), Caller(self.site.base_url, self.ledger)
        kinds: dict[str, Callable[[Caller, random.Random], None]] = {
            "single": self._single,
            "batch": self._batch,
            "cancelled": self._cancelled,
            "repeated": self._repeated,
            "bad upload": self._bad,
        }
        while not self.over.wait(self.pause):
            (name,) = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
            self.asked[name] += 1
            kinds[name](caller, chance)

    def _single(self, caller: Caller, chance: random.Random) -> None:
        caller.post(chance.choice((200, 500, 2000)), PICTURE)

    def _cancelled(self, caller: Caller, chance: random.Random) -> None:
        job_id = caller.post(20_000, PICTURE)
        self.over.wait(chance.random() * 3)
        caller.call("POST", f"/jobs/{job_id}/cancel")

    def _repeated(self, caller: Caller, chance: random.Random) -> None:
        key = uuid4().hex
        for _ in range(3):
            caller.post(200, PICTURE, key)

    def _batch(self, caller: Caller, chance: random.Random) -> None:
        key = uuid4().hex
        while not self.over.is_set():
            files = [("image", (f"{i}.png", PICTURE)) for i in range(4)]
            told = caller.call(
                "POST", "/batches", files=files, data={"n": 200}, headers={"Idempotency-Key": key}
            )
            if told is not None and told.status_code == 202:
                for number, job in enumerate(told.json()["jobs"]):
                    self.ledger.promise(f"{key}/{number}", job["id"])
                return
            time.sleep(0.5)

    def _bad(self, caller: Caller, chance: random.Random) -> None:
        half = PICTURE[: len(PICTURE) // 2]
        told = caller.call("POST", "/certify", files={"image": half}, data={"n": 200})
        if told is not None and told.status_code not in (415, 503):
            self.wrong_answers.append(f"half a picture: {told.status_code}")

    def follow(self, until: threading.Event) -> None:
        """Notes every job as it ends, and whether it stays so."""
        caller, auditor = Caller(self.site.base_url, self.ledger), Auditor(self.site)
        while not until.wait(LOOK):
            self._note_ends(caller)
            self._look_again(auditor, time.monotonic())
        self._look_again(auditor, float("inf"))

    def _note_ends(self, caller: Caller) -> None:
        for job_id in self.accepted - set(self.ended):
            job = caller.job(job_id)
            if job is not None and job["status"] in TERMINAL:
                self.ended[job_id] = job
                self._again[job_id] = time.monotonic() + self.settled

    def _look_again(self, auditor: Auditor, now: float) -> None:
        for job_id in [one for one, due in self._again.items() if due <= now]:
            try:
                if auditor.changed(self.ended[job_id]):
                    self.changed.append(job_id)
            except BrokerUnavailable:
                return  # away just now
            del self._again[job_id]
