"""Checks a statement: against itself, and against the log that it was made from. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from smoothcert.schemas.limits import LARGEST_SIGMA, LEAST_SIGMA, MAX_N, MIN_ALPHA
from smoothcert.stats import recompute
from smoothcert.stats.recompute import EXCESS
from smoothcert.stats.statement import OF_RUN, Question, Row, at_least, chosen_images, figures, problem
from smoothcert.stats.verify import Check, Report

MOST_RADII = 100
MOST_IMAGES = 10_000_000  # so that a bound takes less than a second


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
    yield Check("alpha", MIN_ALPHA <= s.alpha < 1, f"must be at least {MIN_ALPHA:g} and below 1")
    yield Check("images", 1 <= s.images <= MOST_IMAGES, f"must be from 1 to {MOST_IMAGES}")
    yield from _impossible_premises(s)
    chosen = chosen_images(s.data.split_images, s.data.every)
    yield Check("images", s.images == chosen, f"every {s.data.every} of {s.data.split_images} are {chosen}")
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
    yield from _checks_of_radii(s)


def _impossible_premises(s: Any) -> Iterator[Check]:
    """Values that no statement can have, of fields that follow from no others."""
    for field, possible, rule in (
        ("procedure", s.procedure in ("anytime", "certify"), f"{s.procedure} proves no radius"),
        ("sigma", LEAST_SIGMA <= s.sigma <= LARGEST_SIGMA, f"must be from {LEAST_SIGMA} to {LARGEST_SIGMA}"),
        ("n", 1 <= s.n <= MAX_N, f"must be from 1 to {MAX_N}"),
        ("data.every", s.data.every >= 1, "must be 1 or more"),
        ("p_a", all(0 <= share <= 1 for share in s.p_a.values()), "must be shares"),
    ):
        if not possible:
            yield Check(field, False, rule)


def _checks_of_radii(s: Any) -> Iterator[Check]:
    """Whether so many votes can prove these radii, and whether mean and quantiles go with the shares."""
    stops_early = s.target_radius is not None or s.tolerance is not None
    most = recompute.largest_radius(s.procedure, s.n, s.alpha, sigma=s.sigma, stops_early=stops_early)
    reached = [share.radius for share in s.radii if share.right]
    yield Check("radii", all(r <= most for r in reached), f"{s.n} votes prove at most {most:.10g}")
    edges = [*(share.radius for share in s.radii), most]
    rights = [s.images, *(share.right for share in s.radii), 0]
    between = [a - b for a, b in pairwise(rights)]  # images with a radius up to each edge
    least = sum(k * r for k, r in zip(between, [0.0, *edges], strict=False)) / s.images
    largest = sum(k * r for k, r in zip(between, edges, strict=True)) / s.images
    if not least * (1 - 1e-9) <= s.mean_radius <= largest * (1 + 1e-9):
        yield Check("mean_radius", False, f"the shares allow {least:.10g} to {largest:.10g}")
    if not 0 <= s.median_radius <= most * (1 + 1e-9):
        yield Check("median_radius", False, f"must be from 0 to {most:.10g}")


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
    classes = len(s.classes)
    same = all(len(row.evidence.counts) == classes for row in rows)
    yield Check("classes", same, f"are {classes}, and the log has counts of others")
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
