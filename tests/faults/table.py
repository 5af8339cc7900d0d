"""The rows of docs/reliability.md, between its markers."""

from dataclasses import dataclass
from pathlib import Path

from tests.worker.plant import ROOT

PAGE = ROOT / "docs" / "reliability.md"
HEADS = (
    "fault", "how it was made", "jobs in flight", "lost", "twice", "wrong",
    "recovered in", "votes drawn again", "slowest answer",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One fault's figures. again: the most votes of one job that were drawn a second time."""

    fault: str
    how: str
    in_flight: int
    lost: int
    twice: int
    wrong: int
    recovery: float  # seconds
    again: int
    slowest: float  # seconds

    @property
    def clean(self) -> bool:
        return not (self.lost or self.twice or self.wrong)

    def cells(self) -> list[str]:
        counts = [str(n) for n in (self.in_flight, self.lost, self.twice, self.wrong)]
        return [
            self.fault,
            self.how,
            *counts,
            f"{self.recovery:.1f} s",
            str(self.again),
            f"{self.slowest:.2f} s",
        ]


def line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def markdown(rows: list[Row]) -> str:
    """The table."""
    rule = ["---", "---", *["---:"] * (len(HEADS) - 2)]
    return "\n".join(line(cells) for cells in [list(HEADS), rule, *(row.cells() for row in rows)])


def write(text: str, name: str, page: Path = PAGE) -> None:
    """Puts it between the page's markers of that name."""
    first, last = f"<!-- {name}: written by the command, not by hand -->", f"<!-- end of {name} -->"
    before, _, rest = page.read_text().partition(first)
    _, _, after = rest.partition(last)
    assert rest, f"{page} has no place for {name}"
    page.write_text(f"{before}{first}\n{text}\n{last}{after}")
