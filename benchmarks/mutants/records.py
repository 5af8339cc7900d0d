"""What is known of each mutant, kept in build/mutants so that an interrupted run goes on."""

import difflib
import hashlib
import json
import tomllib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.mutants.asking import Outcome

EXPLAINED = Path(__file__).with_name("explained.toml")


@dataclass(frozen=True)
class Mutant:
    """One changed module. own: its source as it is; code: as it was changed."""

    module: str
    operator: str
    own: str
    code: str

    @property
    def key(self) -> str:
        """The same for the same change of the same source."""
        return hashlib.sha256(f"{self.own}\0{self.code}".encode()).hexdigest()

    @cached_property
    def diff(self) -> list[str]:
        """Its changed lines, each with - or +, under their place."""
        lines = difflib.unified_diff(self.own.splitlines(), self.code.splitlines(), n=0, lineterm="")
        return list(lines)[2:]

    @property
    def was(self) -> str:
        """The lines that were changed, in one, without their margins."""
        return " ".join(line[1:].strip() for line in self.diff if line.startswith("-"))

    @property
    def now(self) -> str:
        """What stands there now."""
        return " ".join(line[1:].strip() for line in self.diff if line.startswith("+"))


@dataclass(frozen=True)
class Verdict:
    """How a mutant fared. tests: a digest of the tests that were asked; seconds: that they took."""

    key: str
    outcome: Outcome
    tests: str
    seconds: float


class Records:
    """The verdicts of one module, one a line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines() if path.exists() else []
        self._verdicts = {verdict.key: verdict for verdict in (Verdict(**json.loads(line)) for line in lines)}

    def known(self, mutant: Mutant, tests: str) -> Verdict | None:
        """Of these tests, or of any that killed it: tests that were added since can't revive it."""
        verdict = self._verdicts.get(mutant.key)
        return verdict if verdict and (verdict.outcome != "survived" or verdict.tests == tests) else None

    def keep(self, verdict: Verdict) -> None:
        self._verdicts[verdict.key] = verdict
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(verdict)) + "\n")


@dataclass(frozen=True)
class Explanation:
    """Why no test can kill, or should kill, the mutants of one line. now: what may stand there instead."""

    module: str
    was: str
    now: tuple[str, ...]
    why: str

    def covers(self, mutant: Mutant) -> bool:
        same_line = (self.module, _squeezed(self.was)) == (mutant.module, _squeezed(mutant.was))
        return same_line and _squeezed(mutant.now) in map(_squeezed, self.now)


def _squeezed(line: str) -> str:
    return "".join(line.split())


def explanations() -> list[Explanation]:
    """Those of explained.toml."""
    entries = tomllib.loads(EXPLAINED.read_text()).get("survivor", [])
    return [Explanation(**{**entry, "now": tuple(entry["now"])}) for entry in entries]


def digest(files: Iterable[Path]) -> str:
    """Of the contents of these files."""
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()
