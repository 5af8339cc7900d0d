"""The mutants of one module, by cosmic-ray's operators and three of our own; JSON lines on stdout.

Runs in an environment of its own (`make mutants`), beside cosmic-ray and none of our dependencies.
Cosmic-ray rather than mutmut, because mutmut 3 leaves alone what is decorated (properties, `noise_table`) and
what stands outside functions (constants, a field's limits).

python benchmarks/mutants/making.py certification/bounds.py
"""

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from cosmic_ray import plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator

# Of every operator's eleven replacements the nearest ones: whoever catches those catches the far ones.
BINARY = {
    "Add": ("Sub", "Mul"),
    "Sub": ("Add", "Mul"),
    "Mul": ("Div", "Add"),
    "Div": ("Mul", "FloorDiv"),
    "FloorDiv": ("Div", "Mul"),
    "Mod": ("Mul", "FloorDiv"),
    "Pow": ("Mul",),
    "RShift": ("LShift",),
    "LShift": ("RShift",),
    "BitOr": ("BitAnd",),
    "BitAnd": ("BitOr",),
}
COMPARISON = {
    "Eq": ("NotEq",),
    "NotEq": ("Eq",),
    "Lt": ("LtE", "GtE"),
    "LtE": ("Lt", "Gt"),
    "Gt": ("GtE", "LtE"),
    "GtE": ("Gt", "Lt"),
    "Is": ("IsNot",),
    "IsNot": ("Is",),
}
OTHERS = (
    "AddNot",
    "ExceptionReplacer",
    "NumberReplacer",
    "RemoveDecorator",
    "ReplaceAndWithOr",
    "ReplaceOrWithAnd",
    "ReplaceBreakWithContinue",
    "ReplaceContinueWithBreak",
    "ReplaceFalseWithTrue",
    "ReplaceTrueWithFalse",
    "ReplaceUnaryOperator_Delete_Not",
    "ReplaceUnaryOperator_Delete_USub",
    "ZeroIterationForLoop",
)
_PAIRS = (
    ("min", "max"),
    ("floor", "ceil"),
    ("all", "any"),
    ("ROUND_FLOOR", "ROUND_CEILING"),
    ("left", "right"),
)
OPPOSITES = {**dict(_PAIRS), **{b: a for a, b in _PAIRS}}


class SwapName(Operator):  # type: ignore[misc]
    """`min` for `max`, `floor` for `ceil`, ...: what errs on the unsafe side."""

    def mutation_positions(self, node):  # type: ignore[no-untyped-def]
        if node.type == "name" and node.value in OPPOSITES:
            yield node.start_pos, node.end_pos

    def mutate(self, node, index):  # type: ignore[no-untyped-def]
        node.value = OPPOSITES[node.value]
        return node

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


class DropKeyword(Operator):  # type: ignore[misc]
    """A call without one of its keyword arguments: `slack` forgotten on the way."""

    def mutation_positions(self, node):  # type: ignore[no-untyped-def]
        if node.type == "argument" and node.children[1] == "=" and node.parent.type in {"arglist", "trailer"}:
            yield node.start_pos, node.end_pos

    def mutate(self, node, index):  # type: ignore[no-untyped-def]
        follows = node.get_next_sibling()
        if follows is not None and follows == ",":
            follows.value = ""

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


class DropStatement(Operator):  # type: ignore[misc]
    """`pass` in place of a call, an assertion, an addition: whatever is done for its effect alone."""

    def mutation_positions(self, node):  # type: ignore[no-untyped-def]
        parent = node.parent
        if parent is None or parent.type != "simple_stmt" or parent.children[0] is not node:
            return
        added = (
            node.type == "expr_stmt" and "=" in node.get_code() and node.children[1].get_code().strip() != "="
        )
        stored = node.type == "expr_stmt" and node.get_code().strip().startswith("self.")
        if node.type in {"assert_stmt", "atom_expr", "raise_stmt"} or added or stored:
            yield node.start_pos, node.end_pos

    def mutate(self, node, index):  # type: ignore[no-untyped-def]
        return get_ast(node.get_first_leaf().prefix + "pass").children[0]

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


def operators() -> Iterator[tuple[str, Operator]]:
    """Each by its name."""
    for kind, replacements in (("Binary", BINARY), ("Comparison", COMPARISON)):
        for old, news in replacements.items():
            yield from ((f"{old} to {new}", _named(f"Replace{kind}Operator_{old}_{new}")) for new in news)
    yield from ((name, _named(name)) for name in OTHERS)
    yield from ((own.__name__, own()) for own in (SwapName, DropKeyword, DropStatement))


def _named(name: str) -> Operator:
    return plugins.get_operator(f"core/{name}")()


class _Behaviour(ast.NodeTransformer):
    """What is left of a module without what only a type checker reads."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        typed = (ast.Constant, ast.Name, ast.Subscript)
        is_union = isinstance(node.op, ast.BitOr) and isinstance(node.right, typed) and _is_none(node)
        return ast.Name("union") if is_union else node

    def visit_arguments(self, node: ast.arguments) -> ast.AST:
        """Whether one may, or must, be named in a call."""
        self.generic_visit(node)
        node.args, node.posonlyargs, node.kwonlyargs = (
            [*node.posonlyargs, *node.args, *node.kwonlyargs],
            [],
            [],
        )
        node.defaults, node.kw_defaults = [*node.defaults, *(one for one in node.kw_defaults if one)], []
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(node.arg)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """A dataclass is one whatever its options: that nobody assigns to a frozen one is mypy's to say."""
        self.generic_visit(node)
        calls = [one.func if isinstance(one, ast.Call) else one for one in node.decorator_list]
        node.decorator_list = calls
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        self.generic_visit(node)
        return node


def _is_none(node: ast.BinOp) -> bool:
    return any(isinstance(side, ast.Constant) and side.value is None for side in (node.left, node.right))


def behaviour(source: str) -> str:
    """Equal for sources that differ only in parameters' and results' types or in decorators of classes.

    Raises SyntaxError for what is no Python.
    """
    return ast.dump(_Behaviour().visit(ast.parse(source)))


def mutants(source: str) -> Iterator[tuple[str, str]]:
    """Operator and mutated source, each different one once."""
    seen = {behaviour(source)}
    for name, operator in operators():
        for occurrence in range(_occurrences(source, operator)):
            try:
                code = mutate_code(source, operator, occurrence)
                does = behaviour(code)
            except (SyntaxError, AttributeError):  # an exception's dotted name is beyond ExceptionReplacer
                continue
            if does not in seen:
                seen.add(does)
                yield name, code


def _occurrences(source: str, operator: Operator) -> int:
    return sum(len(list(operator.mutation_positions(node))) for node in ast_nodes(get_ast(source)))


if __name__ == "__main__":
    for name, code in mutants(Path(sys.argv[1]).read_text()):
        print(json.dumps({"operator": name, "code": code}))
