"""What a log says, as figures: ACR, the certified-accuracy curve, abstentions and the spread of p_A.

Shares are in [0,1], radii l2 in [0,1]-pixel units, intervals 95 % over images (another draw of test images).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from training.caveats import caveats
from training.log import Log, Row

Z = 1.959963984540054  # two-sided 95 % of a standard normal
P_CORRECT_LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
Interval = tuple[float, float]


@dataclass(frozen=True)
class Summary:
    """One log's figures. `radii` are as the reader wrote them ("0.25"), one a `certified_accuracy`."""

    log: str
    images: int
    acr: float
    acr_interval: Interval
    radii: tuple[str, ...]
    certified_accuracy: tuple[float, ...]
    certified_accuracy_intervals: tuple[Interval, ...]
    abstention_rate: float
    p_correct: dict[str, float] | None  # quantiles of the share of noisy copies classified right
    seconds_per_image: float
    warnings: tuple[str, ...]


def summarize(log: Log, radii: Sequence[str], others: Sequence[Log] = ()) -> Summary:
    """The figures of one log. Of no images every figure is 0, with a warning that says so."""
    shares = [certified_accuracy(log.rows, float(radius)) for radius in radii]
    return Summary(
        log=log.name,
        images=len(log.rows),
        acr=average_certified_radius(log.rows),
        acr_interval=_acr_interval(log.rows),
        radii=tuple(radii),
        certified_accuracy=tuple(shares),
        certified_accuracy_intervals=tuple(wilson_interval(share, len(log.rows)) for share in shares),
        abstention_rate=_mean([row.abstained for row in log.rows]),
        p_correct=_p_correct_quantiles(log.rows),
        seconds_per_image=_mean([row.seconds for row in log.rows]),
        warnings=tuple(caveats(log, others)),
    )


def average_certified_radius(rows: Sequence[Row]) -> float:
    """ACR: the mean of radius x correct; 0 where the answer is wrong or an abstention."""
    return _mean(_credited_radii(rows))


def certified_accuracy(rows: Sequence[Row], radius: float) -> float:
    """The share classified right, not abstained, with a radius larger than `radius`.

    A certified radius is always larger than 0, also where a bare log prints it as 0.000: at 0 every right
    answer that is no abstention counts.
    """
    return _mean([row.right and (row.radius > radius or radius == 0) for row in rows])


def shares_classified_right(rows: Sequence[Row]) -> list[float]:
    """p_A of every row with evidence, sorted: the share of noisy copies classified as the label says."""
    return sorted(
        row.evidence.counts[row.label] / row.evidence.n
        for row in rows
        if row.evidence and row.evidence.n and 0 <= row.label < len(row.evidence.counts)
    )


def wilson_interval(share: float, images: int) -> Interval:
    """Wilson's score interval of a share over `images` images (Wilson 1927); (0, 1) of none."""
    if images == 0:
        return 0.0, 1.0
    shrunk = (share + Z * Z / (2 * images)) / (1 + Z * Z / images)
    half = Z / (1 + Z * Z / images) * math.sqrt(share * (1 - share) / images + (Z / (2 * images)) ** 2)
    return max(0.0, shrunk - half), min(1.0, shrunk + half)


def _acr_interval(rows: Sequence[Row]) -> Interval:
    acr = average_certified_radius(rows)
    half = Z * stdev(_credited_radii(rows)) / math.sqrt(len(rows)) if len(rows) > 1 else 0.0
    return max(0.0, acr - half), acr + half


def _credited_radii(rows: Sequence[Row]) -> list[float]:
    return [row.radius if row.right else 0.0 for row in rows]


def _p_correct_quantiles(rows: Sequence[Row]) -> dict[str, float] | None:
    shares = shares_classified_right(rows)
    if not shares:
        return None
    return {
        f"{level:g}": shares[min(int(level * len(shares)), len(shares) - 1)] for level in P_CORRECT_LEVELS
    }


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else 0.0
