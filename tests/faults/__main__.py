"""Breaks a real deployment in every way of docs/reliability.md, and writes what came of it there.

make faults                     or, one fault, without writing:
.venv/bin/python -m tests.faults --only "broker killed"
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.faults.blows import FAULTS, Fault
from tests.faults.clock import COMPILER
from tests.faults.drill import drill
from tests.faults.table import HEADS, Row, line, markdown, write

SLOWEST = 5.0  # seconds: the longest that an answer may take, whatever is broken


def run(faults: list[Fault], folder: Path) -> list[Row]:
    """One after the other, printing each row."""
    rows = []
    print(line(list(HEADS)), flush=True)
    for number, fault in enumerate(faults):
        rows.append(drill(fault, folder / str(number)))
        print(line(rows[-1].cells()), flush=True)
    return rows


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--only", help="the faults whose names contain this; docs stay as they are")
    options.add_argument("--keep", type=Path, help="a new folder for records and logs, to look at afterwards")
    chosen = options.parse_args()
    faults = [one for one in FAULTS if (chosen.only or "") in one.name and (COMPILER or not one.plan.clocks)]
    with tempfile.TemporaryDirectory() as temporary:
        rows = run(faults, chosen.keep or Path(temporary))
    if not chosen.only:
        write(markdown(rows), "faults")
    if not all(row.clean and row.slowest < SLOWEST for row in rows):
        sys.exit("something was lost, done twice, wrong, or too slow: see above")


if __name__ == "__main__":
    main()
