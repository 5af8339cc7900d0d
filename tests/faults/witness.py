"""Any worker's engines, with a book of which votes were asked of them: what was drawn twice shows there."""

import os
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

from smoothcert.schemas.certificate import EngineDescription
from smoothcert.votes import BatchedVotes, Counts, VoteRange

BOOK, ENGINES = "WITNESS_BOOK", "WITNESS_ENGINES"  # environment: the file, the builder that is watched


class Watched:
    """One image's votes, each range written down before it is cast."""

    def __init__(self, source: BatchedVotes, seed: int) -> None:
        self._source, self._seed = source, seed
        self.num_classes, self.slack, self.at_once = source.num_classes, source.slack, source.at_once

    def count(self, votes: VoteRange, until: int = 0) -> Counts:
        line = f"{self._seed:032x} {votes.stage} {votes.start} {votes.stop}\n"
        book = os.open(os.environ[BOOK], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(book, line.encode())  # one write at the end of a file: lines of two workers don't mix
        os.close(book)
        return self._source.count(votes, until)


class WatchedEngine:
    """The engine it was made of, in everything but the book."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.description: EngineDescription = engine.description
        self.num_classes: int = engine.num_classes

    def sampler(self, image_CHW: Any, sigma: float, seed: int) -> Watched:
        return Watched(self._engine.sampler(image_CHW, sigma, seed), seed)


class Witness:
    """What SMOOTHCERT_ENGINES names."""

    def __init__(self, settings: Any) -> None:
        module, _, name = os.environ[ENGINES].partition(":")
        self._builder = getattr(import_module(module), name)(settings)

    def platform(self) -> str:
        return str(self._builder.platform())

    def check(self, *what: Any) -> None:
        self._builder.check(*what)

    def build(self, *what: Any) -> WatchedEngine:
        return WatchedEngine(self._builder.build(*what))


def drawn_again(book: Path) -> dict[str, int]:
    """Votes asked for more than once, by the seed of their job."""
    asked: dict[tuple[str, str], list[range]] = {}
    for line in book.read_text().splitlines() if book.exists() else []:
        seed, stage, start, stop = line.split()
        asked.setdefault((seed, stage), []).append(range(int(start), int(stop)))
    again: Counter[str] = Counter()
    for (seed, _), ranges in asked.items():
        again[seed] += sum(map(len, ranges)) - _covered(ranges)
    return dict(again)


def _covered(ranges: list[range]) -> int:
    """How many votes lie in at least one of the ranges."""
    total = reached = 0
    for one in sorted(ranges, key=lambda votes: votes.start):
        total += max(0, one.stop - max(one.start, reached))
        reached = max(reached, one.stop)
    return total
