"""What `smoothcert attack` found: lines, totals and curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smoothcert.errors import InvalidRequest
from smoothcert.schemas.evaluation_run import EvaluationRun

if TYPE_CHECKING:
    from smoothcert.attack.attack import AttackResult
    from smoothcert.attack.bare import BareResult
    from smoothcert.schemas.evaluation_log import Row

COLUMNS = (
    "idx",
    "label",
    "class",
    "radius",
    "broken_inside",
    "broken",
    "gap",
    "checks",
    "seconds",
    "bare_class",
    "bare",
)
CURVES = ("r", "proved", "smoothed, attacked", "bare, attacked")
CURVE_STEP = 0.25  # of the radii in the table
DIGITS = 6  # of radii: the proved rounded down, the broken rounded up


class AttackRun(EvaluationRun):
    """Everything that decides the lines of a log; what is not of the certificates has its option's name."""

    restarts: int
    steps: int
    noises: int
    check_votes: int
    inside_votes: int
    bare_steps: int
    farthest: float


@dataclass(frozen=True)
class AttackedImage:
    """The attack on one image, rounded as its line in the log, so that a resumed run has the same totals.

    predicted, radius: of the certificate; -1 and 0 if there is none. broken_inside: None if there was
    nothing to attack. broken: the smallest radius that breaks, or None. bare_class: of the bare network, None
    if it was left out; bare: norm of the smallest perturbation that changes it, or None.
    """

    idx: int
    label: int
    predicted: int
    radius: float
    broken_inside: bool | None
    broken: float | None
    checks: int
    seconds: float
    bare_class: int | None = None
    bare: float | None = None

    @classmethod
    def of(
        cls, row: Row, result: AttackResult | None, seconds: float, bare: BareResult | None = None
    ) -> AttackedImage:
        """Radii: the certified one is rounded down, those that break are rounded up."""
        from smoothcert.stats.bounds import floor_to

        return cls(
            idx=row.idx,
            label=row.label,
            predicted=row.predict,
            radius=floor_to(row.radius, DIGITS),
            broken_inside=None if result is None else not result.holds,
            broken=None if result is None else _up(result.broken),
            checks=0 if result is None else result.checks,
            seconds=round(seconds, 1),
            bare_class=None if bare is None else bare.predicted,
            bare=None if bare is None else _up(bare.norm),
        )

    @property
    def gap(self) -> float | None:
        """The smallest broken radius as a multiple of the certified one."""
        return self.broken / self.radius if self.broken is not None and self.radius else None

    @property
    def cells(self) -> list[str]:
        """The cells of its line in the log; `-` for missing values."""
        attacked = self.broken_inside is not None
        return [
            str(self.idx),
            str(self.label),
            str(self.predicted),
            f"{self.radius:.{DIGITS}f}",
            str(int(bool(self.broken_inside))) if attacked else "-",
            _text(self.broken, DIGITS),
            _text(self.gap, 3),
            str(self.checks) if attacked else "-",
            f"{self.seconds:.1f}",
            "-" if self.bare_class is None else str(self.bare_class),
            _text(self.bare, DIGITS),
        ]

    @classmethod
    def parse(cls, cells: Sequence[str]) -> AttackedImage:
        """From the cells of its line. Raises ValueError."""
        idx, label, predicted, radius, inside, broken, _, checks, seconds, bare_class, bare = cells
        return cls(
            idx=int(idx),
            label=int(label),
            predicted=int(predicted),
            radius=float(radius),
            broken_inside=None if inside == "-" else inside == "1",
            broken=_number(broken),
            checks=0 if checks == "-" else int(checks),
            seconds=float(seconds),
            bare_class=None if bare_class == "-" else int(bare_class),
            bare=_number(bare),
        )

    @property
    def document(self) -> dict[str, Any]:
        """Its entry in the document of `--json`; null for missing values."""
        return {
            "idx": self.idx,
            "label": self.label,
            "class": None if self.predicted < 0 else self.predicted,
            "radius": self.radius,
            "broken_inside": self.broken_inside,
            "broken_radius": self.broken,
            "checks": self.checks,
            "seconds": self.seconds,
            "bare_class": self.bare_class,
            "bare_radius": self.bare,
        }

    @property
    def standing(self) -> tuple[float, float, float]:
        """The radius within which the right answer stands: proved, attacked, and of the bare network.

        -1 where the answer is wrong at the image itself, infinite where no attack broke it.
        """
        right = self.broken_inside is not None and self.predicted == self.label
        proved = self.radius if right else -1.0
        attacked = _or_never(self.broken) if right else -1.0
        return proved, attacked, _or_never(self.bare) if self.bare_class == self.label else -1.0


def log_line(item: AttackedImage) -> str:
    return "\t".join(item.cells) + "\n"


def read_lines(text: str, name: str) -> list[AttackedImage]:
    """The images of a log with its header. Raises InvalidRequest: it is none."""
    lines = [line.split("\t") for line in text.splitlines()]
    try:
        if lines[:1] != [list(COLUMNS)]:
            raise ValueError
        return [AttackedImage.parse(cells) for cells in lines[1:]]
    except ValueError as error:
        raise InvalidRequest(f"{name} is no log of smoothcert attack; take another --out.") from error


@dataclass(frozen=True)
class AttackTotals:
    """Totals. mean_gap, mean_distance: mean ratio and difference of broken and certified radius.

    bare_right: images that the bare network classifies right. bare_broken, mean_bare_radius: of any class.
    """

    images: int
    abstained: int
    certified: int
    broken_inside: int
    broken_outside: int
    mean_radius: float | None
    mean_broken_radius: float | None
    mean_distance: float | None
    mean_gap: float | None
    bare_right: int
    bare_broken: int
    mean_bare_radius: float | None

    @classmethod
    def of(cls, all_attacked: Sequence[AttackedImage]) -> AttackTotals:
        found = [item for item in all_attacked if item.broken_inside is not None]
        broken = [(item.broken, item.radius) for item in found if item.broken is not None]
        bare = [item.bare for item in all_attacked if item.bare is not None]
        return cls(
            images=len(all_attacked),
            abstained=len(all_attacked) - len(found),
            certified=len(found),
            broken_inside=sum(bool(item.broken_inside) for item in found),
            broken_outside=sum(not item.broken_inside and item.broken is not None for item in found),
            mean_radius=_mean([item.radius for item in found]),
            mean_broken_radius=_mean([outside for outside, _ in broken]),
            mean_distance=_mean([outside - proved for outside, proved in broken]),
            mean_gap=_mean([item.gap for item in found if item.gap is not None]),
            bare_right=sum(item.standing[2] >= 0 for item in all_attacked),
            bare_broken=len(bare),
            mean_bare_radius=_mean(bare),
        )


@dataclass(frozen=True)
class CurvePoint:
    """Shares of images within one radius. bare: None if the bare network was not attacked."""

    radius: float
    proved: float
    attacked: float
    bare: float | None

    @property
    def cells(self) -> list[str]:
        bare = "-" if self.bare is None else f"{100 * self.bare:.1f} %"
        return [f"{self.radius:g}", f"{100 * self.proved:.1f} %", f"{100 * self.attacked:.1f} %", bare]


def curves(all_attacked: Sequence[AttackedImage]) -> list[CurvePoint]:
    """The shares at radii 0, 0.25 and so on, up to the first at which nothing broken stands."""
    if not all_attacked:
        return []
    standing = [item.standing for item in all_attacked]
    furthest = max(radius for one in standing for radius in (0.0, *one) if math.isfinite(radius))
    steps = math.ceil(furthest / CURVE_STEP)
    with_bare = any(item.bare_class is not None for item in all_attacked)
    points = []
    for k in range(steps + 1):
        proved, attacked, bare = (
            sum(one[curve] >= k * CURVE_STEP for one in standing) / len(standing) for curve in range(3)
        )
        points.append(CurvePoint(k * CURVE_STEP, proved, attacked, bare if with_bare else None))
    return points


def _or_never(broken: float | None) -> float:
    return math.inf if broken is None else broken


def _up(broken: float | None) -> float | None:
    from smoothcert.stats.bounds import ceil_to

    return None if broken is None else ceil_to(broken, DIGITS)


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _number(cell: str) -> float | None:
    return None if cell == "-" else float(cell)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
