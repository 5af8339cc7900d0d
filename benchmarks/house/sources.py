"""The Python files of the repository, parsed, and the functions in them."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRODUCTION = ("certification", "training", "worker", "service", "smoothcert")
AROUND = ("tests", "benchmarks", "docs")

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
Parent = ast.ClassDef | FunctionNode


@dataclass(frozen=True)
class Function:
    """One function, method, or function in a function.

    legend: its file's docstring. parents: what it stands in, the outermost first.
    """

    path: str
    legend: str
    node: FunctionNode
    parents: tuple[Parent, ...]

    @property
    def lines(self) -> int:
        """From `def` to its end, docstring and blank lines included, decorators not."""
        assert self.node.end_lineno is not None
        return self.node.end_lineno - self.node.lineno + 1

    @property
    def is_public(self) -> bool:
        """Whether other files may call it; constructors are."""
        if any(isinstance(parent, FunctionNode) for parent in self.parents):
            return False
        names = [one.name for one in (*self.parents, self.node) if one.name != "__init__"]
        return not any(name.startswith("_") for name in names)

    @property
    def documentation(self) -> str:
        """Its docstring, those of its classes, and its file's."""
        own = (ast.get_docstring(one) or "" for one in (*self.parents, self.node))
        return "\n".join([self.legend, *own])

    def __str__(self) -> str:
        return f"{self.path}:{self.node.lineno} {'.'.join(one.name for one in (*self.parents, self.node))}"


@dataclass(frozen=True)
class Source:
    """One file. path: below the repository's root."""

    path: str
    text: str

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())

    @cached_property
    def functions(self) -> list[Function]:
        tree = ast.parse(self.text)
        legend = ast.get_docstring(tree) or ""
        return [Function(self.path, legend, node, parents) for node, parents in _functions(tree, ())]


def _functions(
    node: ast.AST, parents: tuple[Parent, ...]
) -> Iterator[tuple[FunctionNode, tuple[Parent, ...]]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, FunctionNode):
            yield child, parents
        yield from _functions(child, (*parents, child) if isinstance(child, Parent) else parents)


def sources(*folders: str) -> list[Source]:
    """The Python files below these folders, in order."""
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return [Source(path.relative_to(ROOT).as_posix(), path.read_text()) for path in paths]
