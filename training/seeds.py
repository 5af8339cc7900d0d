"""Logs of one recipe trained from several seeds, as one line: what another seed would give."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev

from scipy import special

from smoothcert.errors import InvalidRequest
from training.summary import Interval, Summary

LEVEL = 0.95


def over_seeds(summaries: Sequence[Summary]) -> Summary:
    """The mean of each figure; intervals are Student's, over seeds. Raises InvalidRequest for one log alone.

    Warnings of the logs are theirs; this line warns of logs that should not be averaged.
    """
    if len(summaries) < 2:
        raise InvalidRequest("--seeds needs the logs of at least two seeds.")
    accuracies = list(zip(*(s.certified_accuracy for s in summaries), strict=True))
    return Summary(
        log=f"mean of {len(summaries)} seeds",
        images=min(s.images for s in summaries),
        acr=fmean(s.acr for s in summaries),
        acr_interval=student_interval([s.acr for s in summaries]),
        radii=summaries[0].radii,
        certified_accuracy=tuple(map(fmean, accuracies)),
        certified_accuracy_intervals=tuple(map(_within_shares, map(student_interval, accuracies))),
        abstention_rate=fmean(s.abstention_rate for s in summaries),
        p_correct=_mean_quantiles(summaries),
        seconds_per_image=fmean(s.seconds_per_image for s in summaries),
        warnings=tuple(_warnings(summaries)),
    )


def student_interval(values: Sequence[float]) -> Interval:
    """Mean -+ t * s / sqrt(k), at 95 %, for k >= 2 values."""
    k = len(values)
    half = float(special.stdtrit(k - 1, (1 + LEVEL) / 2)) * stdev(values) / math.sqrt(k)
    return fmean(values) - half, fmean(values) + half


def _within_shares(interval: Interval) -> Interval:
    return max(0.0, interval[0]), min(1.0, interval[1])


def _mean_quantiles(summaries: Sequence[Summary]) -> dict[str, float] | None:
    quantiles = [s.p_correct for s in summaries if s.p_correct]
    if len(quantiles) < len(summaries):
        return None
    return {level: fmean(one[level] for one in quantiles) for level in quantiles[0]}


def _warnings(summaries: Sequence[Summary]) -> list[str]:
    return [
        f"{kind}, so these are not seeds of one evaluation"
        for kind in ("mixed alpha", "mixed n", "mixed bound", "not the same images")
        if any(warning.startswith(kind) for s in summaries for warning in s.warnings)
    ]
