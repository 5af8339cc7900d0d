"""What `smoothcert attack` found: lines, totals and curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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


@dataclass(frozen=True)
class AttackedImage:
    """The attack on one image. result: None if the classifier abstained. bare: None if left out."""

    row: Row
    result: AttackResult | None
    seconds: float
    bare: BareResult | None = None

    @property
    def gap(self) -> float | None:
        """The smallest broken radius as a multiple of the certified one."""
        if self.result is None or self.result.broken is None:
            return None
        return self.result.broken / self.result.radius

    @property
    def cells(self) -> list[str]:
        """The cells of its line in the log; `-` for missing values."""
        from smoothcert.stats.bounds import ceil_to, floor_to

        found, gap = self.result, self.gap
        inside = "-" if found is None else str(int(not found.holds))
        broken = "-" if found is None or found.broken is None else f"{ceil_to(found.broken, DIGITS):.6f}"
        checks = "-" if found is None else str(found.checks)
        known = [str(self.row.idx), str(self.row.label), str(self.row.predict)]
        radius = f"{floor_to(self.row.radius, DIGITS):.6f}"
        shown_gap = "-" if gap is None else f"{gap:.3f}"
        smoothed = [*known, radius, inside, broken, shown_gap, checks, f"{self.seconds:.1f}"]
        if self.bare is None:
            return [*smoothed, "-", "-"]
        norm = self.bare.norm
        return [*smoothed, str(self.bare.predicted), "-" if norm is None else f"{ceil_to(norm, DIGITS):.6f}"]

    @property
    def document(self) -> dict[str, Any]:
        """Its entry in the document of `--json`; null for missing values."""
        found = self.result
        return {
            "idx": self.row.idx,
            "label": self.row.label,
            "class": None if self.row.abstained else self.row.predict,
            "radius": self.row.radius,
            "broken_inside": None if found is None else not found.holds,
            "broken_radius": None if found is None else found.broken,
            "checks": 0 if found is None else found.checks,
            "seconds": self.seconds,
            "bare_class": None if self.bare is None else self.bare.predicted,
            "bare_radius": None if self.bare is None else self.bare.norm,
        }

    @property
    def standing(self) -> tuple[float, float, float]:
        """The radius within which the right answer stands: proved, attacked, and of the bare network.

        -1 where the answer is wrong at the image itself, infinite where no attack broke it.
        """
        right = self.result is not None and self.row.correct
        proved = self.row.radius if right else -1.0
        attacked = _or_never(self.result.broken) if right and self.result else -1.0
        if self.bare is None or self.bare.predicted != self.row.label:
            return proved, attacked, -1.0
        return proved, attacked, _or_never(self.bare.norm)


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
        found = [item.result for item in all_attacked if item.result]
        broken = [(item.broken, item.radius) for item in found if item.broken is not None]
        bare = [item.bare.norm for item in all_attacked if item.bare and item.bare.norm is not None]
        return cls(
            images=len(all_attacked),
            abstained=len(all_attacked) - len(found),
            certified=len(found),
            broken_inside=sum(not item.holds for item in found),
            broken_outside=sum(item.holds and item.broken is not None for item in found),
            mean_radius=_mean([item.radius for item in found]),
            mean_broken_radius=_mean([outside for outside, _ in broken]),
            mean_distance=_mean([outside - proved for outside, proved in broken]),
            mean_gap=_mean([outside / proved for outside, proved in broken]),
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
    with_bare = any(item.bare for item in all_attacked)
    points = []
    for k in range(steps + 1):
        proved, attacked, bare = (
            sum(one[curve] >= k * CURVE_STEP for one in standing) / len(standing) for curve in range(3)
        )
        points.append(CurvePoint(k * CURVE_STEP, proved, attacked, bare if with_bare else None))
    return points


def _or_never(broken: float | None) -> float:
    return math.inf if broken is None else broken


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
