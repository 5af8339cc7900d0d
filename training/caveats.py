"""What makes the figures of a log misleading: the traps that published evaluations have fallen into."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import NormalDist
from typing import Any

from training.log import Evidence, Log, Row

WHOLE_TEST_SETS = frozenset({10_000, 50_000})  # MNIST and CIFAR, ImageNet
CONSTANT_SHARE = 0.9  # of the answers in one class; the labels must be more even than that
ENOUGH_IMAGES = 10  # below this nothing is said of collapse
PUBLISHED_SIGMAS = (0.12, 0.25, 0.5, 1.0)
PUBLISHED_VOTES = (1_000, 10_000, 100_000)
PUBLISHED_ALPHAS = (0.001, 0.01, 0.05)
PRINTED_STEP = 0.001  # radii of bare logs have three digits
SETTINGS = ("alpha", "sigma", "n0", "n", "bound")


def caveats(log: Log, others: Sequence[Log] = ()) -> list[str]:
    """One sentence for each thing a reader of this log's figures must know; `others` are compared with it."""
    if not log.rows:
        return ["no images: nothing was measured"]
    found = [*_own(log)]
    for other in others:
        found.extend(_against(log, other))
    return found


def radius_cap(sigma: float, n: int, alpha: float) -> float:
    """The largest radius that n votes can prove at alpha: all of them agree, one-sided bound."""
    p_lower: float = alpha ** (1 / n)
    return sigma * NormalDist().inv_cdf(p_lower) if 0.5 < p_lower < 1 else 0.0


def likely_alpha(log: Log) -> float | None:
    """The alpha of a log: written in it, or read off the radius at which a bare log's radii are capped."""
    written = _settings(log, "alpha")
    if written:
        return float(written[0]) if len(written) == 1 else None
    protocol = _capped_at(log)
    return protocol[2] if protocol else None


def _own(log: Log) -> Iterator[str]:
    yield from _torn(log)
    yield from _mixed_settings(log)
    yield from _duplicates(log)
    yield from _subset(log)
    yield from _collapse(log)
    yield from _contradictions(log)
    yield from _too_large(log)


def _against(log: Log, other: Log) -> Iterator[str]:
    alphas = likely_alpha(log), likely_alpha(other)
    if None not in alphas and alphas[0] != alphas[1]:
        yield f"mixed alpha: {alphas[0]:g} here, {alphas[1]:g} in {other.name}; the radii are not comparable"
    for setting in ("n", "bound"):
        here, there = _settings(log, setting), _settings(other, setting)
        if here and there and here != there and len(here) == len(there) == 1:
            yield f"mixed {setting}: {here[0]} here, {there[0]} in {other.name}"
    if other.rows and {row.idx for row in log.rows} != {row.idx for row in other.rows}:
        yield (
            f"not the same images: a subset of {len(log.rows)} here, {len(other.rows)} in {other.name}"
            if len(log.rows) != len(other.rows)
            else f"not the same images: {other.name} has another subset of as many"
        )


def _torn(log: Log) -> Iterator[str]:
    if log.torn:
        yield "the last line was cut short and is left out: the evaluation was killed or is still running"


def _mixed_settings(log: Log) -> Iterator[str]:
    for setting in SETTINGS:
        values = _settings(log, setting)
        if len(values) > 1:
            yield f"mixed {setting}: {', '.join(map(str, values[:4]))}{', ...' if len(values) > 4 else ''}"


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
    if len(log.rows) < ENOUGH_IMAGES or len(labels) < 2:
        return
    if not answers:
        yield "collapsed: it abstains on every image"
        return
    (favourite, most), answered = answers.most_common(1)[0], answers.total()
    if most >= CONSTANT_SHARE * answered and max(labels.values()) < CONSTANT_SHARE * len(log.rows):
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


def _too_large(log: Log) -> Iterator[str]:
    over = sum(_exceeds(row, row.evidence) for row in log.rows if row.evidence)
    if over:
        yield f"unproved: {over} radii are larger than their n and alpha can prove"
    protocol = _capped_at(log)
    if protocol and max(row.radius for row in log.rows) > radius_cap(*protocol):
        sigma, n, alpha = protocol
        yield f"radii rounded up: the largest exceeds what n={n}, alpha={alpha:g}, sigma={sigma:g} can prove"


def _exceeds(row: Row, evidence: Evidence) -> bool:
    return evidence.n > 0 and row.radius > radius_cap(evidence.sigma, evidence.n, evidence.alpha) + 1e-9


def _capped_at(log: Log) -> tuple[float, int, float] | None:
    """(sigma, n, alpha) of a bare log, from its largest radius, which easy images share; None if unclear."""
    radii = Counter(row.radius for row in log.rows if row.evidence is None)
    if not radii or radii[largest := max(radii)] < 3:
        return None
    for sigma in PUBLISHED_SIGMAS:
        for n in PUBLISHED_VOTES:
            for alpha in PUBLISHED_ALPHAS:
                if abs(largest - radius_cap(sigma, n, alpha)) <= PRINTED_STEP / 2:
                    return sigma, n, alpha
    return None


def _settings(log: Log, setting: str) -> list[Any]:
    """The different values of one setting, sorted; none in a bare log."""
    return sorted({getattr(row.evidence, setting) for row in log.rows if row.evidence is not None})
