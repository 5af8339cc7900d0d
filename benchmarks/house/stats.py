"""The code itself, measured: `make stats`. Prints Markdown; exits 1 when an aim of the house is missed.

Lengths, typed returns, duplicates, imports between the packages (import-linter), dead code (vulture), public
functions that pass tensors and don't say which shape.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.house.duplicates import duplicates
from benchmarks.house.lengths import FILE, FUNCTION, MEDIAN, NINE_IN_TEN, Lengths, lengths
from benchmarks.house.shapes import unsaid
from benchmarks.house.sources import AROUND, PRODUCTION, ROOT, sources

HEAD = (
    "| | functions | median | nine in ten | longest | files | longest | typed returns |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|"
)


def main() -> int:
    """The exit status."""
    parts = {folder: lengths(sources(folder)) for folder in (*PRODUCTION, *AROUND)}
    whole = lengths(sources(*PRODUCTION, *AROUND))
    print(HEAD)
    for name, part in [*parts.items(), ("**all**", whole)]:
        print(row(name, part))
    print(f"| aim | | {MEDIAN} | {NINE_IN_TEN} | {FUNCTION} | | {FILE} | |")
    twice = [" = ".join(map(str, places)) for places in duplicates(sources(*PRODUCTION, *AROUND))]
    findings = {
        "Over an aim": whole.over,
        "Standing twice": twice,
        "Dead code": vulture(),
        "Tensors of unsaid shape, lengths of unsaid unit": unsaid(sources(*PRODUCTION)),
    }
    for title, lines in findings.items():
        print(f"\n{title}: {len(lines)}", *(f"- {line}" for line in lines), sep="\n")
    print(f"\n{arrows()}")
    return 0 if whole.keep_to_the_aims and not any(findings.values()) else 1


def row(name: str, part: Lengths) -> str:
    """One line of the table."""
    figures = (
        part.functions,
        f"{part.median:g}",
        part.nine_in_ten,
        part.longest,
        part.files,
        part.longest_file,
        f"{part.typed:.1%}",
    )
    return f"| {name} | {' | '.join(map(str, figures))} |"


def vulture() -> Sequence[str]:
    """What nothing but a test uses; pyproject.toml says where it looks. Methods are found by their files."""
    return [
        line for line in run("vulture") if not line.startswith("training/methods/") or "class" not in line
    ]


def arrows() -> str:
    """import-linter's last word."""
    return next(line for line in reversed(run("import-linter", "lint")) if line.startswith("Contracts:"))


def run(module: str, *arguments: str) -> list[str]:
    """The lines that a tool of this environment prints."""
    tool = Path(sys.executable).parent / module
    done = subprocess.run([tool, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return [*done.stdout.splitlines(), *done.stderr.splitlines()]


if __name__ == "__main__":
    sys.exit(main())
