"""What an evaluation log proves about the distribution that its images were drawn from.

Each of N images has a certificate, wrong with probability at most alpha over its votes. So the share of
images that are right and certified at r is, in expectation, at most q + alpha, where q is the share of the
distribution that the smoothed classifier answers right at every point within r. Hence with confidence 1-beta
over images and votes q >= Clopper-Pearson lower(k, N, beta) - alpha. Each radius is a statement of its own;
the classes hold together, each with beta over their number (Bonferroni). Standard library only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from functools import lru_cache
from statistics import fmean, median
from typing import Any

from smoothcert.schemas.limits import image_seed
from smoothcert.stats import recompute
from smoothcert.stats.recompute import EXCESS

P_LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)  # quantiles over images
OF_RUN = ("procedure", "sigma", "alpha", "n0", "n", "target_radius", "tolerance")


Row = Any  # a Row of schemas.evaluation_log with evidence; `run` is an EvaluationRun, or has its attributes


@dataclass(frozen=True)
class Question:
    """What is stated: radii, the confidence 1-beta, and the names of the classes."""

    radii: tuple[float, ...]
    beta: float
    labels: tuple[str, ...]


def problem(rows: Sequence[Row], run: Any, slack: float) -> str | None:
    """Why no statement follows from these rows; None if one does."""
    return next(_problems(rows, run, slack), None)


def _problems(rows: Sequence[Row], run: Any, slack: float) -> Iterator[str]:
    if not rows:
        yield "there are no images"
    if run.procedure == "predict":
        yield "the procedure predict proves no radius"
    if any(row.evidence is None for row in rows):
        yield "rows without counts prove nothing"
        return
    for name in ("alpha", "sigma", "n0"):
        values = sorted({getattr(row.evidence, name) for row in rows} | {getattr(run, name)})
        if len(values) > 1:
            yield f"mixed {name}: {', '.join(map(str, values[:4]))}"
    repeated = sorted(idx for idx, count in Counter(row.idx for row in rows).items() if count > 1)
    if repeated:
        yield f"duplicates: image {repeated[0]} is counted more than once"
    yield from _chosen_subset(rows, run)
    for row in rows:
        reason = unproved(row, run, slack)
        if reason:
            yield f"unproved: image {row.idx}: {reason}"


def _chosen_subset(rows: Sequence[Row], run: Any) -> Iterator[str]:
    """Only every K-th image of a split is drawn as the split was; what was chosen otherwise may be easier."""
    if run.every < 1:
        yield f"every {run.every} of the images is no choice"
        return
    chosen, found = chosen_images(run.split_images, run.every), {row.idx for row in rows}
    inside = sum(idx < run.split_images and idx % run.every == 0 for idx in found)
    if not inside == len(found) == chosen:
        kind = f"{chosen - inside} of the {chosen} are missing" if inside < chosen else "others are there"
        yield (
            f"a chosen subset (--limit, a filter, or unfinished): every {run.every} of {run.split_images} "
            f"images gives {chosen}, and {kind}"
        )


def chosen_images(split_images: int, every: int) -> int:
    """How many images 0, every, 2 every, ... of a split there are."""
    return max(0, -(-split_images // every))


def unproved(row: Row, run: Any, slack: float) -> str | None:
    """Why the counts of a row do not prove its radius; None if they do, or if nothing is claimed."""
    evidence, top, counts = row.evidence, row.predict, row.evidence.counts
    if evidence.seed != image_seed(run.seed, row.idx):
        return "its seed is not the one that the run gives it"
    if min(counts) < 0 or sum(counts) > evidence.n:
        return "its counts are not those of its votes"
    if top < 0:
        return "an abstention claims a radius" if row.radius else None
    if evidence.n == 0 and not _is_right(row):  # --skip-wrong: it counts as wrong
        return None
    if top >= len(counts):
        return "its counts are not those of its votes"
    return _unproved_radius(row, run, slack)


def _unproved_radius(row: Row, run: Any, slack: float) -> str | None:
    evidence, top, counts = row.evidence, row.predict, row.evidence.counts
    stops_early = run.target_radius is not None or run.tolerance is not None
    look = _look(run.procedure, run.n, run.alpha, stops_early, evidence.n)
    if look is None:
        return f"no look of the schedule is after {evidence.n} votes"
    second = max((count for k, count in enumerate(counts) if k != top), default=0) + evidence.n - sum(counts)
    p_lower = max(Decimal(0), _lower(counts[top], evidence.n, look[0] - look[1]) - Decimal(slack))
    p_upper = min(
        Decimal(1), 1 - _lower(evidence.n - second, evidence.n, look[1]) + Decimal(slack), 1 - p_lower
    )
    proved = recompute.radius(run.sigma, p_lower, p_upper)
    excess = max(Decimal(evidence.p_lower) - p_lower, p_upper - Decimal(evidence.p_upper))
    if excess > Decimal(EXCESS):
        return "its bounds do not follow from its counts"
    if row.radius > proved + EXCESS * max(run.sigma, proved):
        return f"its counts prove {proved:.9f}, not {row.radius:.9f}"
    return None


@lru_cache(maxsize=4096)
def _look(procedure: str, n: int, alpha: float, stops_early: bool, at: int) -> tuple[float, float] | None:
    """Alpha, and of it the runner-up's, of the look after `at` votes."""
    if procedure != "anytime":
        return (alpha, 0.0) if at == n else None
    return next(
        (look[1:] for look in recompute.looks(n, alpha, stops_early=stops_early) if look[0] == at), None
    )


_lower = lru_cache(maxsize=65_536)(recompute.lower_bound)  # many images share their counts


def figures(rows: Sequence[Row], alpha: float, question: Question) -> dict[str, Any]:
    """The figures of a statement, which all follow from the rows."""
    class_beta = question.beta / len(question.labels)
    radii = [_is_right(row) * row.radius for row in rows]
    by_class = [[row for row in rows if row.label == k] for k in range(len(question.labels))]
    return {
        "images": len(rows),
        "mean_radius": fmean(radii),
        "median_radius": median(radii),
        "p_a": _quantiles(rows),
        "class_beta": class_beta,
        "radii": [_share(rows, radius, question.beta, alpha) for radius in question.radii],
        "classes": [
            {"label": label, "radii": [_share(own, radius, class_beta, alpha) for radius in question.radii]}
            for label, own in zip(question.labels, by_class, strict=True)
        ],
    }


def _share(rows: Sequence[Row], radius: float, beta: float, alpha: float) -> dict[str, Any]:
    right = sum(_is_right(row) and (row.radius > radius or radius == 0) for row in rows)
    return {
        "radius": radius,
        "right": right,
        "of": len(rows),
        "at_least": at_least(right, len(rows), beta, alpha),
    }


def at_least(right: int, of: int, beta: float, alpha: float) -> float:
    """Clopper-Pearson lower(right, of, beta) - alpha, rounded down, and not below 0."""
    lower = recompute.lower_bound(right, of, beta) if right else Decimal(0)
    return max(0.0, recompute.rounded(lower - Decimal(alpha), ROUND_FLOOR))


def _is_right(row: Row) -> bool:
    return bool(row.predict >= 0 and row.predict == row.label)


def _quantiles(rows: Sequence[Row]) -> dict[str, float]:
    """Quantiles over images of p_A: the share of noisy copies that are classified as the label."""
    shares = sorted(_share_of_label(row) for row in rows)
    return {f"{level:g}": shares[min(int(level * len(shares)), len(shares) - 1)] for level in P_LEVELS}


def _share_of_label(row: Row) -> float:
    counts, n = row.evidence.counts, row.evidence.n
    return counts[row.label] / n if n and 0 <= row.label < len(counts) else 0.0
