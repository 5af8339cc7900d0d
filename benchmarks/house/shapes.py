"""Public docstrings of functions that pass tensors, with no word on shapes, or on the unit of a length.

An argument says its shape by its name (`images_BCHW`), else a docstring does: the function's, its class's, or
the legend at the top of the file. What is returned: the function's name, or these docstrings. Methods without
a docstring are described where they are declared first.
"""

import ast
import re
from collections.abc import Iterator, Sequence

from benchmarks.house.sources import Function, Source

TENSOR = re.compile(r"(?<!str, )\b(?:Tensor|NDArray|Counts|Image)\b(?!\.)")  # by name: named by the network
NAMED = re.compile(r"_m?[A-Z][A-Z0-9]*$")
SHAPE = re.compile(
    r"\bshapes?\b|\bscalar\b|one value|_[A-Z]{1,4}\b|\b[A-Z](?:,[A-Z])+\b"
    r"|\((?:[\w*.]+, ?)*[A-Z](?:, ?[\w*]+)*,?\)"  # (m*B, C, 32, 32)
)
ELSEWHERE = re.compile(r"^See \w+\.\w+\.$")  # the whole of it: described where it is declared
LENGTHS = {"sigma", "radius", "epsilon"}  # l2, pixels in [0,1]
UNIT = re.compile(r"\[0, ?1\]|\bl2\b|\bpixels?\b|\bgrey|noise level")


def unsaid(sources: Sequence[Source]) -> list[str]:
    """What is missing, as `file:line function: argument`."""
    functions = (function for source in sources for function in source.functions)
    described = (
        f for f in functions if f.is_public and not ELSEWHERE.match(ast.get_docstring(f.node) or "See A.b.")
    )
    return [f"{function}: {what}" for function in described for what in _unsaid(function)]


def _unsaid(function: Function) -> Iterator[str]:
    node, says_shape = function.node, SHAPE.search(function.documentation)
    passed = [argument for argument in _arguments(node.args) if _is_tensor(argument.annotation)]
    if not says_shape:
        yield from (f"shape of {one.arg}" for one in passed if not NAMED.search(one.arg))
    if _is_tensor(node.returns) and not says_shape and not NAMED.search(node.name):
        yield "shape of what it returns"
    if (passed or _is_tensor(node.returns)) and not UNIT.search(function.documentation):
        yield from (f"unit of {one.arg}" for one in _arguments(node.args) if one.arg in LENGTHS)


def _arguments(arguments: ast.arguments) -> list[ast.arg]:
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]


def _is_tensor(annotation: ast.expr | None) -> bool:
    return annotation is not None and TENSOR.search(ast.unparse(annotation)) is not None
