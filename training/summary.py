"""The figures of a log, or the mean over the logs of several training seeds.

ACR, certified accuracy, abstentions, and the distribution of p_A. Shares are in [0,1], radii l2 with pixels
in [0,1]. Intervals are 95 %: of one log over images, of a mean over seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import DescrStatsW

from smoothcert.errors import InvalidRequest
from smoothcert.schemas.evaluation_log import (
    Log,
    Row,
    abstention_rate,
    average_certified_radius,
    certified_accuracy,
    credited_radii,
    shares_classified_right,
)
from training.log_checks import check_log

ERROR = 0.05  # 1 - confidence level of the intervals
P_CORRECT_LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
Interval = tuple[float, float]


@dataclass(frozen=True)
class Summary:
    """One log's figures. radii: as the user wrote them ("0.25"), one per certified accuracy.

    median_radius: as ACR, 0 where wrong or abstained. by_class: certified accuracies by true class.
    abstention_rate: None if unknown. p_correct: quantiles over images of the share of noisy copies classified
    right; None without evidence, or if images were skipped.
    """

    log: str
    images: int
    acr: float
    acr_interval: Interval
    median_radius: float
    radii: tuple[str, ...]
    certified_accuracy: tuple[float, ...]
    certified_accuracy_intervals: tuple[Interval, ...]
    abstention_rate: float | None
    by_class: dict[int, tuple[float, ...]]
    p_correct: dict[str, float] | None
    seconds_per_image: float
    warnings: tuple[str, ...]


def summarize(log: Log, radii: Sequence[str], others: Sequence[Log] = ()) -> Summary:
    """The figures of one log. Without images all are 0, with a warning. others: compared in the warnings."""
    shares = [certified_accuracy(log.rows, float(radius)) for radius in radii]
    return Summary(
        log=log.name,
        images=len(log.rows),
        acr=average_certified_radius(log.rows),
        acr_interval=_acr_interval(log.rows),
        median_radius=median(credited_radii(log.rows)) if log.rows else 0.0,
        radii=tuple(radii),
        certified_accuracy=tuple(shares),
        certified_accuracy_intervals=tuple(wilson_interval(share, len(log.rows)) for share in shares),
        abstention_rate=abstention_rate(log.rows),
        by_class=_by_class(log.rows, radii),
        p_correct=_p_correct_quantiles(log.rows),
        seconds_per_image=_mean([row.seconds for row in log.rows]),
        warnings=tuple(check_log(log, others)),
    )


def mean_over_seeds(summaries: Sequence[Summary]) -> Summary:
    """The mean of each figure, with Student's intervals over seeds. Raises InvalidRequest for a single log.

    Its warnings are only about logs that should not be averaged.
    """
    if len(summaries) < 2:
        raise InvalidRequest("--seeds needs the logs of at least two seeds.")
    accuracies = list(zip(*(s.certified_accuracy for s in summaries), strict=True))
    return Summary(
        log=f"mean of {len(summaries)} seeds",
        images=min(s.images for s in summaries),
        acr=fmean(s.acr for s in summaries),
        acr_interval=student_interval([s.acr for s in summaries]),
        median_radius=fmean(s.median_radius for s in summaries),
        radii=summaries[0].radii,
        certified_accuracy=tuple(map(fmean, accuracies)),
        certified_accuracy_intervals=tuple(map(_within_shares, map(student_interval, accuracies))),
        abstention_rate=_mean_if_known([s.abstention_rate for s in summaries]),
        by_class=_mean_by_class(summaries),
        p_correct=_mean_quantiles(summaries),
        seconds_per_image=fmean(s.seconds_per_image for s in summaries),
        warnings=tuple(_seed_warnings(summaries)),
    )


def _by_class(rows: Sequence[Row], radii: Sequence[str]) -> dict[int, tuple[float, ...]]:
    return {
        label: tuple(
            certified_accuracy([row for row in rows if row.label == label], float(radius)) for radius in radii
        )
        for label in sorted({row.label for row in rows})
    }


def _mean_by_class(summaries: Sequence[Summary]) -> dict[int, tuple[float, ...]]:
    """Over the classes that every log has."""
    shared = [label for label in summaries[0].by_class if all(label in s.by_class for s in summaries)]
    return {
        label: tuple(map(fmean, zip(*(s.by_class[label] for s in summaries), strict=True)))
        for label in shared
    }


def wilson_interval(share: float, images: int) -> Interval:
    """Wilson's score interval (Wilson 1927) of a share over `images` images; (0, 1) without images."""
    if images == 0:
        return 0.0, 1.0
    low, high = proportion_confint(share * images, images, alpha=ERROR, method="wilson")
    return max(0.0, float(low)), min(1.0, float(high))


def student_interval(values: Sequence[float]) -> Interval:
    """Student's t interval of the mean of at least two values."""
    low, high = DescrStatsW(values).tconfint_mean(alpha=ERROR)
    return float(low), float(high)


def _acr_interval(rows: Sequence[Row]) -> Interval:
    """The normal interval of the mean; of a single image only the mean."""
    if len(rows) < 2:
        return (acr := average_certified_radius(rows)), acr
    low, high = DescrStatsW(credited_radii(rows)).zconfint_mean(alpha=ERROR)
    return max(0.0, float(low)), float(high)


def _p_correct_quantiles(rows: Sequence[Row]) -> dict[str, float] | None:
    shares = shares_classified_right(rows)
    if not shares:
        return None
    return {
        f"{level:g}": shares[min(int(level * len(shares)), len(shares) - 1)] for level in P_CORRECT_LEVELS
    }


def _mean_quantiles(summaries: Sequence[Summary]) -> dict[str, float] | None:
    quantiles = [s.p_correct for s in summaries if s.p_correct]
    if len(quantiles) < len(summaries):
        return None
    return {level: fmean(values[level] for values in quantiles) for level in quantiles[0]}


def _seed_warnings(summaries: Sequence[Summary]) -> list[str]:
    return [
        f"{kind}, so these are not seeds of one evaluation"
        for kind in ("mixed alpha", "mixed n", "mixed bound", "not the same images")
        if any(warning.startswith(kind) for s in summaries for warning in s.warnings)
    ]


def _mean_if_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def _within_shares(interval: Interval) -> Interval:
    return max(0.0, interval[0]), min(1.0, interval[1])


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else 0.0
