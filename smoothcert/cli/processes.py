"""Parts of `smoothcert up`: processes that are started again when they die, unless they die too often."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from smoothcert.errors import InternalError

FIRST_PAUSE = 0.5  # seconds before a dead part is started again; each further death doubles it
TOO_MANY = 5  # deaths
WITHIN = 60.0  # seconds; older deaths no longer count
LOG_TAIL = 5  # lines shown of the log of a part that is given up


@dataclass
class Part:
    """One of our processes. `start` starts it; both its first life and its next ones append to `log`.

    `proven` once it has done its work: a part that never did is not started again.
    """

    name: str
    log: Path
    start: Callable[[], "subprocess.Popen[bytes]"]
    process: "subprocess.Popen[bytes]"
    proven: bool = False
    _deaths: list[float] = field(default_factory=list)
    _due: float | None = None

    def watch(self, say: Callable[[str], None]) -> None:
        """Starts it again, after a pause, when it has died. Raises InternalError when that does not help."""
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
    """Kills what a dead process that led a session of its own has left behind in it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
