"""What an evaluation log proves about the distribution that its images were drawn from.

Each of N images has a certificate, wrong with probability at most alpha over its votes. So the share of
images that are right and certified at r is, in expectation, at most q + alpha, where q is the share of the
distribution that the smoothed classifier answers right at every point within r. Hence with confidence 1-beta
over images and votes q >= Clopper-Pearson lower(k, N, beta) - alpha. Each radius is a statement of its own;
the classes hold together, each with beta over their number (Bonferroni). Standard library only.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from functools import lru_cache
from itertools import pairwise
from statistics import fmean, median
from typing import Any

from smoothcert.stats import recompute
from smoothcert.stats.recompute import EXCESS
from smoothcert.stats.verify import Check, Report

P_LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)  # quantiles over images
MOST_RADII = 100
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
    for name in ("alpha", "sigma"):
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
    expected = range(0, run.split_images, run.every)
    found = {row.idx for row in rows}
    if found != set(expected):
        missing = len(set(expected) - found)
        kind = f"{missing} of the {len(expected)} are missing" if missing else "others are there"
        yield (
            f"a chosen subset (--limit, a filter, or unfinished): every {run.every} of {run.split_images} "
            f"images gives {len(expected)}, and {kind}"
        )


def unproved(row: Row, run: Any, slack: float) -> str | None:
    """Why the counts of a row do not prove its radius; None if they do, or if nothing is claimed."""
    evidence, top = row.evidence, row.predict
    if top < 0:
        return "an abstention claims a radius" if row.radius else None
    if evidence.n == 0 and not _is_right(row):  # --skip-wrong: it counts as wrong
        return None
    counts = evidence.counts
    if not top < len(counts) or min(counts) < 0 or sum(counts) > evidence.n:
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


def verify_statement(statement: Any) -> Report:
    """Check what follows from the statement alone: bounds from counts, and that the counts fit together."""
    checks = []
    for check in _checks(statement):
        checks.append(check)
        if not check.holds:
            break
    return Report(tuple(checks))


def _checks(s: Any) -> Iterator[Check]:
    yield Check("beta", 0 < s.beta < 1, "must be above 0 and below 1")
    yield Check("alpha", 0 < s.alpha < 1, "must be above 0 and below 1")
    yield Check("images", s.images >= 1, "must be 1 or more")
    radii = [share.radius for share in s.radii]
    grows = all(a < b for a, b in pairwise(radii)) and all(0 <= r < math.inf for r in radii)
    yield Check(
        "radii", 1 <= len(radii) <= MOST_RADII and grows, "must be different radii in ascending order"
    )
    yield Check("classes", len(s.classes) >= 1, "must be one or more")
    share = s.beta / max(1, len(s.classes))
    yield Check(
        "class_beta", math.isclose(s.class_beta, share, rel_tol=1e-12), "must be beta over the classes"
    )
    yield from _checks_of_shares("radii", s.radii, radii, of=s.images, beta=s.beta, alpha=s.alpha)
    for k, one in enumerate(s.classes):
        of = one.radii[0].of if one.radii else 0
        yield from _checks_of_shares(
            f"classes.{k}", one.radii, radii, of=of, beta=s.class_beta, alpha=s.alpha
        )
    for i, whole in enumerate(s.radii):
        parts = [one.radii[i] for one in s.classes]
        yield Check(
            "classes",
            sum(part.right for part in parts) == whole.right and sum(part.of for part in parts) == whole.of,
            f"do not add up to the whole at radius {whole.radius:g}",
        )


def _checks_of_shares(
    field: str, shares: Sequence[Any], radii: Sequence[float], *, of: int, beta: float, alpha: float
) -> Iterator[Check]:
    yield Check(field, [share.radius for share in shares] == radii, "must have the radii of the statement")
    most = of
    for i, share in enumerate(shares):
        yield Check(f"{field}.{i}.of", share.of == of, f"must be {of}")
        yield Check(f"{field}.{i}.right", 0 <= share.right <= most, f"must lie between 0 and {most}")
        most = share.right
        proved = at_least(share.right, share.of, beta, alpha)
        close = proved - 1e-9 <= share.at_least <= proved + EXCESS
        yield Check(f"{field}.{i}.at_least", close, f"from the counts follows {proved:.10g}")


def compare_with_log(
    statement: Any, rows: Sequence[Row], run: Any, digests: dict[str, str], slack: float
) -> Report:
    """Recompute the statement from its log. digests: by field, of the files here."""
    checks: list[Check] = []
    for check in _comparisons(statement, rows, run, digests, slack):
        checks.append(check)
        if not check.holds:
            break
    return Report(tuple(checks))


def _comparisons(
    s: Any, rows: Sequence[Row], run: Any, digests: dict[str, str], slack: float
) -> Iterator[Check]:
    for field, digest in digests.items():
        yield Check(field, getattr(s, field) == digest, f"of the file here it is {digest}")
    for name in OF_RUN:
        yield Check(name, getattr(s, name) == getattr(run, name), f"the log's run says {getattr(run, name)}")
    for field, claimed, said in (
        ("model.name", s.model.name, run.model),
        ("model.sha256", s.model.sha256, run.weights_sha256),
        ("data.dataset", s.data.dataset, run.dataset),
        ("data.split", s.data.split, run.split),
        ("data.split_images", s.data.split_images, run.split_images),
        ("data.every", s.data.every, run.every),
        ("data.sha256", s.data.sha256, run.data_sha256),
        ("engine", s.engine, run.setup),
    ):
        yield Check(field, claimed == said, f"the log's run says {said}")
    why = problem(rows, run, slack)
    yield Check("log", why is None, why or "")
    question = Question(
        tuple(share.radius for share in s.radii), s.beta, tuple(one.label for one in s.classes)
    )
    yield from _differences(s, figures(rows, s.alpha, question))


def _differences(s: Any, proved: dict[str, Any]) -> Iterator[Check]:
    for name in ("images", "mean_radius", "median_radius", "p_a"):
        same = _same(getattr(s, name), proved[name])
        yield Check(name, same, f"from the log follows {proved[name]}")
    for field, claimed, shares in [
        ("radii", s.radii, proved["radii"]),
        *((f"classes.{k}", one.radii, proved["classes"][k]["radii"]) for k, one in enumerate(s.classes)),
    ]:
        counts = [(share["right"], share["of"]) for share in shares]
        yield Check(field, [(c.right, c.of) for c in claimed] == counts, f"from the log follow {counts}")


def _same(claimed: Any, proved: Any) -> bool:
    if isinstance(proved, dict):
        return claimed.keys() == proved.keys() and all(_same(claimed[name], proved[name]) for name in proved)
    return math.isclose(claimed, proved, rel_tol=1e-12)
