"""Code that stands twice: runs of statements that are alike but for the names of their own variables.

What is called, attributes, keywords and literals count: two such runs do the same to other variables. Looked
for in functions only, without docstrings: imports and declarations are alike by nature.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from benchmarks.house.sources import FunctionNode, Source

LEAST_LINES = 6
LEAST_NODES = 50  # of syntax: six short lines say little
BLOCKS = ("body", "orelse", "finalbody")
VARIABLE = re.compile(r"(?P<what>Name\(id|arg\(arg|FunctionDef\(name)='(?P<name>\w+)'")


@dataclass(frozen=True)
class Place:
    """Lines of a file."""

    path: str
    first: int
    last: int

    @property
    def lines(self) -> int:
        return self.last - self.first + 1

    def within(self, other: "Place") -> bool:
        return self.path == other.path and other.first <= self.first and self.last <= other.last

    def __str__(self) -> str:
        return f"{self.path}:{self.first}-{self.last}"


def duplicates(sources: Sequence[Source]) -> list[list[Place]]:
    """Sets of places that are alike, the longest first; what lies within a set that is listed is not."""
    alike: dict[str, list[Place]] = defaultdict(list)
    for source in sources:
        for function in source.functions:
            given = {one.arg for one in ast.walk(function.node.args) if isinstance(one, ast.arg)}
            for run in _runs(_without_docstring(function.node)):
                alike[_shape(run, given)].append(Place(source.path, run[0].lineno, run[-1].end_lineno or 0))
    found: list[list[Place]] = []
    for places in sorted(alike.values(), key=lambda places: -places[0].lines):
        apart = [place for i, place in enumerate(places) if not any(map(place.within, places[:i]))]
        if len(apart) > 1 and not any(_covered(apart, larger) for larger in found):
            found.append(apart)
    return found


def _covered(places: Sequence[Place], larger: Sequence[Place]) -> bool:
    return all(any(place.within(one) for one in larger) for place in places)


def _without_docstring(node: FunctionNode) -> list[ast.stmt]:
    return node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body


def _runs(body: list[ast.stmt]) -> Iterator[list[ast.stmt]]:
    """Consecutive statements of the body, and of the blocks in it; functions in it have their own turn."""
    for first in range(len(body)):
        for last in range(first, len(body)):
            run = body[first : last + 1]
            if _is_worth_comparing(run):
                yield run
    for statement in body:
        if not isinstance(statement, FunctionNode | ast.ClassDef):
            for block in BLOCKS:
                yield from _runs(getattr(statement, block, []))


def _is_worth_comparing(run: list[ast.stmt]) -> bool:
    lines = (run[-1].end_lineno or 0) - run[0].lineno + 1
    return lines >= LEAST_LINES and sum(1 for one in run for _ in ast.walk(one)) >= LEAST_NODES


def _shape(run: list[ast.stmt], given: Set[str]) -> str:
    """The syntax, with its function's own variables numbered in the order of their appearance."""
    nodes = [node for one in run for node in ast.walk(one)]
    own = given | {
        node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    own |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    numbers: dict[str, str] = {}

    def numbered(found: re.Match[str]) -> str:
        name = found["name"]
        return f"{found['what']}={numbers.setdefault(name, str(len(numbers))) if name in own else repr(name)}"

    return VARIABLE.sub(numbered, "".join(map(ast.dump, run)))
