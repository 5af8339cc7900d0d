"""Supervised processes of `smoothcert up`: restarted when they die, unless too often."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from smoothcert.errors import InternalError

FIRST_PAUSE = 0.5  # seconds before the first restart; doubles with each death
TOO_MANY = 5  # deaths
WITHIN = 60.0  # seconds in which deaths count
LOG_TAIL = 5  # log lines in the error


@dataclass
class SupervisedProcess:
    """One process. start: starts it, appending to `log`.

    proven: it has worked once. A process that dies before is not restarted.
    """

    name: str
    log: Path
    start: Callable[[], "subprocess.Popen[bytes]"]
    process: "subprocess.Popen[bytes]"
    proven: bool = False
    _deaths: list[float] = field(default_factory=list)
    _due: float | None = None

    def watch(self, say: Callable[[str], None]) -> None:
        """Restart the process if it died, after a pause. Raises InternalError if it dies too often."""
        now = time.monotonic()
        if self._due is None and self.process.poll() is not None:
            kill_group(self.process)
            self._due = now + self._pause(now)
            say(f"The {self.name} {self._end()}; it starts again in {self._due - now:g} s (see {self.log}).")
        if self._due is not None and now >= self._due:
            self.process, self._due = self.start(), None

    def _pause(self, now: float) -> float:
        """Seconds until the next start. Raises InternalError."""
        self._deaths = [*(death for death in self._deaths if now - death < WITHIN), now]
        if not self.proven:
            raise InternalError(f"The {self.name} {self._end()} while it started; see {self._tail()}")
        if len(self._deaths) >= TOO_MANY:
            raise InternalError(
                f"The {self.name} {self._end()}, the {len(self._deaths)}th time within"
                f" {WITHIN:.0f} s, and is not started again; see {self._tail()}"
            )
        return FIRST_PAUSE * 2.0 ** (len(self._deaths) - 1)

    def _end(self) -> str:
        status = self.process.returncode
        return f"was killed by signal {-status}" if status < 0 else f"ended by itself (status {status})"

    def _tail(self) -> str:
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return f"{self.log}: {' | '.join(lines[-LOG_TAIL:])}"


def kill_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill the remaining processes of a dead session leader."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
