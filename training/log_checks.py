"""Warnings about logs whose figures mislead, from errors found in published evaluations."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from smoothcert.schemas.evaluation_log import Evidence, Log, Row
from smoothcert.schemas.parameters import unanimous_radius

WHOLE_TEST_SETS = frozenset({10_000, 50_000})  # images: MNIST and CIFAR-10, ImageNet
COLLAPSED_SHARE = 0.9  # of the answers in one class, while the labels are more even than that
MIN_IMAGES = 10  # below this, collapse is not checked
PUBLISHED_SIGMAS = (0.12, 0.25, 0.5, 1.0)
PUBLISHED_VOTES = (1_000, 10_000, 100_000)
PUBLISHED_ALPHAS = (0.001, 0.01, 0.05)
PRINTED_STEP = 0.001  # the field's logs print radii with three digits
PARAMETERS = ("alpha", "sigma", "n0", "n", "bound")


def check_log(log: Log, others: Sequence[Log] = ()) -> list[str]:
    """One warning per problem, alone or in comparison with `others`."""
    if not log.rows:
        return ["no images: nothing was measured"]
    warnings = [*_check_alone(log)]
    for other in others:
        warnings.extend(_compare(log, other))
    return warnings


def likely_alpha(log: Log) -> float | None:
    """The alpha of a log: as written, or inferred from the largest radius of a log without evidence."""
    written = _values_of(log, "alpha")
    if written:
        return float(written[0]) if len(written) == 1 else None
    protocol = _infer_protocol(log)
    return protocol[2] if protocol else None


def _check_alone(log: Log) -> Iterator[str]:
    yield from _torn(log)
    yield from _mixed_parameters(log)
    yield from _duplicates(log)
    yield from _subset(log)
    yield from _collapse(log)
    yield from _contradictions(log)
    yield from _unproved_radii(log)
    yield from _skipped(log)


def _compare(log: Log, other: Log) -> Iterator[str]:
    alphas = likely_alpha(log), likely_alpha(other)
    if None not in alphas and alphas[0] != alphas[1]:
        yield f"mixed alpha: {alphas[0]:g} here, {alphas[1]:g} in {other.name}; the radii are not comparable"
    for parameter in ("n", "bound"):
        own, others = _values_of(log, parameter), _values_of(other, parameter)
        if own and others and own != others and len(own) == len(others) == 1:
            yield f"mixed {parameter}: {own[0]} here, {others[0]} in {other.name}"
    if other.rows and {row.idx for row in log.rows} != {row.idx for row in other.rows}:
        yield (
            f"not the same images: a subset of {len(log.rows)} here, {len(other.rows)} in {other.name}"
            if len(log.rows) != len(other.rows)
            else f"not the same images: {other.name} has another subset of as many"
        )


def _torn(log: Log) -> Iterator[str]:
    if log.torn:
        yield "the last line was cut short and is left out: the evaluation was killed or is still running"


def _mixed_parameters(log: Log) -> Iterator[str]:
    for parameter in PARAMETERS:
        values = _values_of(log, parameter)
        if len(values) > 1:
            yield f"mixed {parameter}: {', '.join(map(str, values[:4]))}{', ...' if len(values) > 4 else ''}"


def _duplicates(log: Log) -> Iterator[str]:
    repeated = sum(count > 1 for count in Counter(row.idx for row in log.rows).values())
    if repeated:
        yield f"duplicates: {repeated} image{'s' * (repeated > 1)} counted more than once"


def _subset(log: Log) -> Iterator[str]:
    indices = sorted({row.idx for row in log.rows})
    steps = {b - a for a, b in pairwise(indices)}
    if len(steps) == 1 and (step := steps.pop()) > 1:
        yield f"a subset: {len(indices)} images in steps of {step} (idx {indices[0]}, {indices[1]}, ...)"
    elif log.of is not None:
        if len(indices) < log.of:
            yield f"a subset: {len(indices)} of {log.of} images"
    elif steps - {1} or indices[0] > 0 or len(indices) not in WHOLE_TEST_SETS:
        yield f"probably a subset: {len(indices)} images is no whole test set (10000 or 50000)"


def _collapse(log: Log) -> Iterator[str]:
    answers = Counter(row.predict for row in log.rows if not row.abstained)
    labels = Counter(row.label for row in log.rows)
    if len(log.rows) < MIN_IMAGES or len(labels) < 2:
        return
    if not answers:
        yield "collapsed: it abstains on every image"
        return
    (favourite, most), answered = answers.most_common(1)[0], answers.total()
    if most >= COLLAPSED_SHARE * answered and max(labels.values()) < COLLAPSED_SHARE * len(log.rows):
        yield f"collapsed: {most} of {answered} answers are class {favourite}; its radii prove nothing of use"
    elif len(log.rows) >= 10 * len(labels) and len(set(answers) & set(labels)) <= len(labels) / 2:
        yield f"collapsed: it answers with {len(answers)} of {len(labels)} classes only"


def _contradictions(log: Log) -> Iterator[str]:
    wrong = sum(not row.abstained and row.correct != (row.predict == row.label) for row in log.rows)
    if wrong:
        yield f"contradiction: in {wrong} rows `correct` is not `label = predict`; `correct` was believed"
    claimed = sum(row.abstained and row.correct for row in log.rows)
    if claimed:
        yield f"contradiction: {claimed} abstentions are marked correct; they count as wrong"
    excess = sum(sum(row.evidence.counts) > row.evidence.n for row in log.rows if row.evidence)
    if excess:
        yield f"contradiction: in {excess} rows the counts add up to more than the n votes drawn"


def _skipped(log: Log) -> Iterator[str]:
    skipped = sum(row.skipped for row in log.rows)
    if skipped:
        yield (
            f"{skipped} images with a wrong chosen class got no estimation votes (--skip-wrong): ACR and "
            "certified accuracy are those of the full run, abstention rate and p_A are unknown"
        )


def _unproved_radii(log: Log) -> Iterator[str]:
    over = sum(_exceeds_maximum(row, row.evidence) for row in log.rows if row.evidence)
    if over:
        yield f"unproved: {over} radii are larger than their n and alpha can prove"
    protocol = _infer_protocol(log)
    if protocol and max(row.radius for row in log.rows) > unanimous_radius(*protocol):
        sigma, n, alpha = protocol
        yield f"radii rounded up: the largest exceeds what n={n}, alpha={alpha:g}, sigma={sigma:g} can prove"


def _exceeds_maximum(row: Row, evidence: Evidence) -> bool:
    return evidence.n > 0 and row.radius > unanimous_radius(evidence.sigma, evidence.n, evidence.alpha) + 1e-9


def _infer_protocol(log: Log) -> tuple[float, int, float] | None:
    """(sigma, n, alpha) of a log without evidence whose largest radius is one that they allow at most.

    Easy images share that radius; None if fewer than three do, or no published protocol fits.
    """
    radii = Counter(row.radius for row in log.rows if row.evidence is None)
    if not radii or radii[largest := max(radii)] < 3:
        return None
    for sigma in PUBLISHED_SIGMAS:
        for n in PUBLISHED_VOTES:
            for alpha in PUBLISHED_ALPHAS:
                if abs(largest - unanimous_radius(sigma, n, alpha)) <= PRINTED_STEP / 2:
                    return sigma, n, alpha
    return None


def _values_of(log: Log, parameter: str) -> list[Any]:
    """The different values of a parameter in rows with votes, sorted; empty without evidence."""
    rows = (row for row in log.rows if not row.skipped)
    return sorted({getattr(row.evidence, parameter) for row in rows if row.evidence is not None})
