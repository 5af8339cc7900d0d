"""Clocks that can be stepped: a library of forty lines stands between a process and its wall clock.

The process itself is the one that is deployed, down to the byte; it needs a C compiler.
"""

import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")
COMPILER = shutil.which("cc") or shutil.which("gcc")


@dataclass(frozen=True)
class Clock:
    """One clock, of all processes that were started with its environment."""

    library: Path
    file: Path

    @classmethod
    def make(cls, folder: Path, name: str) -> "Clock":
        """A clock that goes right until it is stepped."""
        assert COMPILER, "stepping clocks needs a C compiler"
        library = folder / "clock.so"
        if not library.exists():
            command = [
                COMPILER,
                "-O2",
                "-Wall",
                "-Werror",
                "-shared",
                "-fPIC",
                str(SOURCE),
                "-o",
                str(library),
            ]
            subprocess.run(command, check=True)
        clock = cls(library, folder / f"{name}.step")
        clock.file.write_bytes(struct.pack("q", 0))
        return clock

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.library), "CLOCK_STEP": str(self.file)}

    def step(self, seconds: int) -> None:
        """From now on it is so many seconds ahead of this machine's."""
        with self.file.open("r+b") as file:  # in place: the file is mapped
            file.write(struct.pack("q", seconds))
