"""Callers: they post over HTTP as a careful client does, and remember what they were promised."""

import io
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import httpx2 as httpx
from PIL import Image

from tests.worker.plant import ROOT

PATIENCE = 10.0  # seconds until a caller thinks that the service hangs
AGAIN = 0.5  # seconds between two tries
TERMINAL = ("succeeded", "failed", "cancelled")
DIGIT = ROOT / "tests" / "data" / "digit-7.png"
GONE = 0  # instead of a status: the connection was refused or broke
HUNG = -1


@dataclass(frozen=True)
class Answer:
    """One call: what came back, after how many seconds."""

    call: str
    status: int
    seconds: float


@dataclass
class Ledger:
    """What was promised and how quickly. accepted: job ids by the idempotency key that asked for them."""

    accepted: dict[str, str] = field(default_factory=dict)
    doubled: list[str] = field(default_factory=list)  # keys that were answered with two different jobs
    answers: list[Answer] = field(default_factory=list)

    def promise(self, key: str, job_id: str) -> None:
        if self.accepted.setdefault(key, job_id) != job_id:
            self.doubled.append(key)

    @property
    def slowest(self) -> float:
        """Seconds of the slowest answer."""
        return max((answer.seconds for answer in self.answers), default=0.0)

    def unforeseen(self) -> list[Answer]:
        """Answers that a caller can make nothing of. Being refused for a while is foreseen."""
        return [answer for answer in self.answers if answer.status == HUNG or 500 <= answer.status != 503]


def picture(first_pixel: int = 0) -> bytes:
    """A PNG for the stand-in, whose first pixel says how it behaves (tests/worker/stand_in.py)."""
    file, image = io.BytesIO(), Image.new("L", (2, 2))
    image.putpixel((0, 0), first_pixel)
    image.save(file, "PNG")
    return file.getvalue()


class Caller:
    """One client. Its calls may come from several threads."""

    def __init__(self, base_url: str, ledger: Ledger) -> None:
        self._client = httpx.Client(base_url=base_url, timeout=PATIENCE, trust_env=False)
        self.ledger = ledger

    def call(self, method: str, path: str, **what: object) -> httpx.Response | None:
        """One try; None when no answer came."""
        start, status, response = time.monotonic(), GONE, None
        try:
            response = self._client.request(method, path, **what)  # type: ignore[arg-type]
            status = response.status_code
        except httpx.TimeoutException:
            status = HUNG
        except httpx.TransportError:
            pass
        route = f"{method} /{path.split('?', 1)[0].split('/')[1]}"
        self.ledger.answers.append(Answer(route, status, time.monotonic() - start))
        return response

    def post(self, n: int, image: bytes, key: str | None = None, tries: float = 60.0) -> str | None:
        """A job's id; whoever gets none asks again with the same key, for so many seconds."""
        key, deadline = key or uuid4().hex, time.monotonic() + tries
        while time.monotonic() < deadline:
            response = self.call(
                "POST", "/certify", files={"image": image}, data={"n": n}, headers={"Idempotency-Key": key}
            )
            if response is not None and response.status_code == 202:
                job_id: str = response.json()["id"]
                self.ledger.promise(key, job_id)
                return job_id
            time.sleep(AGAIN)
        return None

    def job(self, job_id: str) -> dict | None:
        """The job as it is, if the service can tell."""
        response = self.call("GET", f"/jobs/{job_id}")
        return response.json() if response is not None and response.status_code == 200 else None

    def ended(self, job_ids: Iterable[str], patience: float) -> dict[str, dict]:
        """The jobs that end within so many seconds."""
        waiting, found, deadline = set(job_ids), {}, time.monotonic() + patience
        while waiting and time.monotonic() < deadline:
            for job_id in list(waiting):
                job = self.job(job_id)
                if job is not None and job["status"] in TERMINAL:
                    found[job_id] = job
                    waiting.remove(job_id)
            time.sleep(0.1)
        return found

    def __enter__(self) -> "Caller":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()


class Traffic(threading.Thread):
    """Small jobs and looks at the list, all the while, whatever happens to the service."""

    def __init__(self, caller: Caller, image: bytes, n: int, pause: float) -> None:
        super().__init__(name="traffic", daemon=True)
        self._caller, self._image, self._n, self._pause = caller, image, n, pause
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(self._pause):
            self._caller.post(self._n, self._image)
            self._caller.call("GET", "/jobs?limit=1")

    def __enter__(self) -> "Traffic":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


def image_of(model: str, path: Path = DIGIT) -> bytes:
    """A picture that the model takes."""
    return path.read_bytes() if model.startswith("mnist") else picture()
