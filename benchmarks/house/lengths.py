"""How long functions and files are, held against the house's aims."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.house.sources import Source

MEDIAN, NINE_IN_TEN, FUNCTION, FILE = 10, 35, 60, 300  # lines at most


@dataclass(frozen=True)
class Lengths:
    """Of the functions and files of some folders, in lines. over: those above FUNCTION or FILE."""

    functions: int
    median: float
    nine_in_ten: int
    longest: int
    files: int
    longest_file: int
    typed: float  # share of functions that say what they return
    over: tuple[str, ...]

    @property
    def keep_to_the_aims(self) -> bool:
        return self.median <= MEDIAN and self.nine_in_ten <= NINE_IN_TEN and not self.over


def lengths(sources: Sequence[Source]) -> Lengths:
    """What there is to say of these files; there must be a function in them."""
    functions = [function for source in sources for function in source.functions]
    lines = sorted(function.lines for function in functions)
    long = sorted((f for f in functions if f.lines > FUNCTION), key=lambda f: -f.lines)
    long_files = sorted((s for s in sources if s.lines > FILE), key=lambda s: -s.lines)
    return Lengths(
        functions=len(lines),
        median=median(lines),
        nine_in_ten=lines[-(-9 * len(lines) // 10) - 1],
        longest=lines[-1],
        files=len(sources),
        longest_file=max(source.lines for source in sources),
        typed=sum(function.node.returns is not None for function in functions) / len(functions),
        over=tuple(f"{f} ({f.lines})" for f in long) + tuple(f"{s.path} ({s.lines})" for s in long_files),
    )
