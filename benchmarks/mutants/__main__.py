"""Do the tests notice when the code is wrong? `make mutants`.

Each module of `targets` is changed in one place at a time, in a copy of the repository, and its tests are
asked. A mutant that they let live is explained in explained.toml, or a gap: this prints its diff and exits 1.
Killed mutants are remembered in build/mutants; survivors are asked again once a test has changed.
"""

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.mutants import lua
from benchmarks.mutants.asking import Outcome, ask, warm
from benchmarks.mutants.copy import ROOT, copied, mutated
from benchmarks.mutants.records import Mutant, Records, Verdict, digest, explanations
from benchmarks.mutants.targets import TARGETS, WARM, Target
from benchmarks.mutants.transitions import TRANSITIONS

BUILD = ROOT / "build" / "mutants"
MAKER = BUILD / "bin" / "python"  # the environment that has cosmic-ray

HEAD = "| module | mutants | killed | timed out | incompetent | explained | survived | score |"


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.mutants", description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", help="paths such as certification/bounds.py; by default all")
    parser.add_argument("--maker", type=Path, default=MAKER, help="the Python that has cosmic-ray")
    asked = parser.parse_args()
    known = (*TARGETS, *TRANSITIONS)
    targets = [target for target in known if not asked.modules or target.module in asked.modules]
    if len(targets) < len(asked.modules):
        parser.error("not a module under mutation; they are: " + ", ".join(t.module for t in known))
    print(HEAD, "|---|" + "---:|" * (HEAD.count("|") - 2), sep="\n")
    survivors = [mutant for target in targets for mutant in survivors_of(target, asked.maker)]
    for mutant in survivors:
        print(f"\n{mutant.module}: {mutant.operator}", *mutant.diff, sep="\n")
    return 1 if survivors else 0


def survivors_of(target: Target, maker: Path) -> list[Mutant]:
    """The mutants of one module that nothing kills and nothing explains; prints its line of the table."""
    fates, reasons = dict(fates_of(target, maker)), explanations()
    explained = {mutant for mutant in fates if any(why.covers(mutant) for why in reasons)}
    counts = Counter(fates.values())
    lived = [mutant for mutant, outcome in fates.items() if outcome == "survived" and mutant not in explained]
    print(_row(target.module, counts, counts["survived"] - len(lived)), flush=True)
    return lived


def fates_of(target: Target, maker: Path) -> Iterator[tuple[Mutant, Outcome]]:
    """Every mutant of one module, and how it fared."""
    made, name = mutants_of(target, maker), target.module.removesuffix(".py").replace("/", ".")
    records = Records(BUILD / "records" / f"{name}.jsonl")
    tests = digest(ROOT / "tests" / test.partition("::")[0] for test in target.tests)
    verdicts = {mutant: records.known(mutant, tests) for mutant in made}
    if None in verdicts.values():
        warm(WARM)
        with copied(BUILD / "trees" / f"{name}.{os.getpid()}") as tree:
            limit = target.timeout + 3 * _unharmed(tree, target)
            for mutant in [mutant for mutant, verdict in verdicts.items() if verdict is None]:
                with mutated(tree / target.module, mutant.code):
                    outcome, seconds = ask(tree, target.tests, limit)
                verdicts[mutant] = Verdict(mutant.key, outcome, tests, round(seconds, 2))
                records.keep(verdicts[mutant])
    yield from ((mutant, verdict.outcome) for mutant, verdict in verdicts.items() if verdict)


def mutants_of(target: Target, maker: Path) -> list[Mutant]:
    """Of a script here; of Python as `making` makes them, in its own environment."""
    own = (ROOT / target.module).read_text()
    if target.module.endswith(".lua"):
        return [Mutant(target.module, operator, own, code) for operator, code in lua.mutants(own)]
    command = [maker, Path(__file__).with_name("making.py"), target.module]
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [Mutant(target.module, own=own, **json.loads(line)) for line in lines]


def _unharmed(tree: Path, target: Target) -> float:
    """Seconds that the tests take of the module as it is; printed if they fail."""
    outcome, seconds = ask(tree, target.tests, limit=600)
    if outcome != "survived":
        sys.exit(f"{target.module}: its tests fail without any mutant\n{(tree / 'output.txt').read_text()}")
    return seconds


def _row(module: str, counts: Counter[Outcome], explained: int) -> str:
    """Incompetent mutants, which can't be imported, count on neither side."""
    lived = counts["survived"] - explained
    fell = counts["killed"] + counts["timed out"]
    score = fell / max(1, fell + lived)
    figures = (counts.total(), counts["killed"], counts["timed out"], counts["incompetent"], explained, lived)
    return f"| {module} | {' | '.join(map(str, figures))} | {score:.1%} |"


if __name__ == "__main__":
    sys.exit(main())
