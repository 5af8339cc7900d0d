"""Verifies a certificate: every figure is recomputed from its counts by `recompute`.

Not checked here: that the votes were drawn (replay), on this image by this network (digests), and the
signature. Each of those adds its own Checks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from smoothcert.noise.normal import slack
from smoothcert.schemas.limits import (
    CHANNELS,
    LARGEST_SIGMA,
    LEAST_SIGMA,
    MAX_DEADLINE,
    MAX_LABELS,
    MAX_N,
    MAX_N0,
    MAX_SIDE,
    MIN_ALPHA,
    NAME,
    SEED,
    SHA256,
)
from smoothcert.stats import recompute
from smoothcert.stats.recompute import EXCESS

if TYPE_CHECKING:  # so that it runs without pydantic
    from smoothcert.schemas.certificate import Certificate, Look

TOLERANCE = 1e-8  # relative, on the alpha of a look
P_SHORTFALL = 1e-8  # absolute: how far a bound may lie on its conservative side
SHORTFALL = 1e-6  # relative and absolute: how far a radius may lie below the one recomputed
MAX_LOOKS = 100  # the rule gives 57 at the largest n allowed


@dataclass(frozen=True)
class Check:
    """The check of one field. reason: why it fails, for the case that it does."""

    field: str
    holds: bool
    reason: str


@dataclass(frozen=True)
class Report:
    """All checks; each one relies only on fields that earlier ones covered."""

    checks: tuple[Check, ...]

    @property
    def first_wrong(self) -> Check | None:
        """The first check that fails, or None."""
        return next((check for check in self.checks if not check.holds), None)


@dataclass(frozen=True)
class Proof:
    """The bounds and the radius that the counts prove."""

    p_lower: Decimal
    p_upper: Decimal
    radius: float


def verify(certificate: Certificate) -> Report:
    """Recompute everything that follows from the counts, up to the first check that fails.

    That check names the edited field, or the first figure that does not follow from it.
    """
    checks: list[Check] = []
    for part in (_checks_of_question, _checks_of_evidence, _checks_of_claims):
        for check in part(certificate):
            checks.append(check)
            if not check.holds:
                return Report(tuple(checks))
    return Report(tuple(checks))


def _checks_of_question(certificate: Certificate) -> Iterator[Check]:
    """The rules for a request, applied to the one that was answered. Its n is that of the last look."""
    c, n = certificate, _most_drawn(certificate)
    target, tolerance, seconds = c.target_radius, c.tolerance, c.deadline
    for field, possible, rule in (
        ("procedure", c.procedure in ("anytime", "certify", "predict"), "there is no other than these three"),
        ("n0", 1 <= c.n0 <= MAX_N0, f"must be from 1 to {MAX_N0}"),
        ("schedule", 1 <= n <= MAX_N, f"the last look must be at 1 to {MAX_N} votes"),
        ("alpha", MIN_ALPHA <= c.alpha < 1, f"must be at least {MIN_ALPHA:g} and below 1"),
        ("target_radius", target is None or 0 < target < math.inf, "must be above 0"),
        ("tolerance", tolerance is None or 0 < tolerance < 1, "must be above 0 and below 1"),
        ("deadline", seconds is None or 0 < seconds <= MAX_DEADLINE, "must be above 0, a day at most"),
        ("deadline", seconds is None or c.procedure == "anytime", f"{c.procedure} takes none"),
        ("sigma", LEAST_SIGMA <= c.sigma <= LARGEST_SIGMA, f"must be from {LEAST_SIGMA} to {LARGEST_SIGMA}"),
    ):
        if not possible:
            yield Check(field, False, f"no such request: {rule}")
            return
    stops_early = target is not None or tolerance is not None
    if not recompute.could_certify(
        c.procedure, n, c.alpha, sigma=c.sigma, target=target, stops_early=stops_early
    ):
        yield Check("schedule", False, f"no such request: {n} votes could never certify, or reach the target")


def _checks_of_evidence(certificate: Certificate) -> Iterator[Check]:
    yield from _impossible_premises(certificate)
    rule = _rule(certificate, certificate.alpha)
    spent = math.fsum(look.alpha for look in certificate.schedule)
    alpha_edited = not _same_looks(certificate, rule) and _same_looks(certificate, _rule(certificate, spent))
    yield Check("alpha", not alpha_edited, f"the schedule spends {spent:.6g}")
    yield Check("schedule", _same_looks(certificate, rule), "is not the one for this procedure, n and alpha")
    bound = "runner_up" if len(rule) > 1 else "one_sided"
    yield Check("bound", certificate.bound == bound, f"this schedule goes with {bound}")
    least = slack(certificate.sigma, math.prod(certificate.input.shape))
    yield Check("slack", certificate.slack >= least, "is less than the noise's own")
    yield from _impossible_votes(certificate)
    drawn = certificate.n if certificate.drawn is None else certificate.drawn
    yield Check(
        "drawn", certificate.n <= drawn <= _most_drawn(certificate), "must lie between n and the last look"
    )
    readable = _look(certificate) is not None or certificate.outcome == "abstained"
    yield Check("n", readable, "no look of the schedule is after n votes")


def _impossible_premises(certificate: Certificate) -> Iterator[Check]:
    """Values that no certificate can have, of fields that the counts do not prove."""
    c = certificate
    channels, *sides = c.input.shape
    spends = all(0 <= look.alpha_runner_up <= look.alpha <= 1 for look in c.schedule)
    classifier, digits = c.model.classifier_sha256, "must be 64 hexadecimal digits"
    for field, possible, reason in (
        ("schedule", len(c.schedule) <= MAX_LOOKS and spends, "spends no share of alpha"),
        ("input.shape", channels in CHANNELS.values(), "must have 1 channel or 3"),
        ("input.shape", all(1 <= side <= MAX_SIDE for side in sides), f"sides are from 1 to {MAX_SIDE}"),
        ("input.sha256", SHA256.fullmatch(c.input.sha256), digits),
        ("model.name", NAME.fullmatch(c.model.name), "is no model's name"),
        ("model.sha256", SHA256.fullmatch(c.model.sha256), digits),
        ("model.classifier_sha256", classifier is None or SHA256.fullmatch(classifier), digits),
        ("seed", SEED.fullmatch(c.seed), "must be 128 bits: 32 hexadecimal digits"),
        ("engine.batch", c.engine.batch >= 1, "must be 1 or more"),
        ("slack", 0 <= c.slack <= 1, "must lie between 0 and 1"),
    ):
        if not possible:
            yield Check(field, False, reason)


def _impossible_votes(c: Certificate) -> Iterator[Check]:
    for field, counts, most in (
        ("selection_counts", c.selection_counts, _selection_votes(c)),
        ("counts", c.counts, c.n),
    ):
        if not 1 <= len(counts) <= MAX_LABELS or min(counts) < 0 or sum(counts) > most:
            yield Check(field, False, f"must be counts of at most {most} votes")
    if len(c.counts) != len(c.selection_counts):
        yield Check("counts", False, "must be about the classes of selection_counts")


def _checks_of_claims(certificate: Certificate) -> Iterator[Check]:
    proof = _prove(certificate)
    certified = _is_certified(certificate, proof)
    outcome = "certified" if certified else "abstained"
    yield Check("p_lower", _is_bound(Decimal(certificate.p_lower), proof.p_lower), _follows(proof.p_lower))
    beyond = Decimal(1) - Decimal(certificate.p_upper)
    yield Check("p_upper", _is_bound(beyond, 1 - proof.p_upper), _follows(proof.p_upper))
    yield Check("radius", _proved(certificate, proof.radius), _follows(proof.radius))
    yield Check("outcome", certificate.outcome == outcome, f"the counts say {outcome}")
    winner = _leader(certificate) if certified else None
    yield Check("predicted_class", certificate.predicted_class == winner, f"the counts say {winner}")
    if (certificate.label is None) != (winner is None):
        yield Check("label", False, "goes with predicted_class")
    met = _target_met(certificate)
    yield Check("target_met", certificate.target_met == met, f"the radius says {met}")
    drawn = certificate.n if certificate.drawn is None else certificate.drawn
    in_time = certificate.deadline is not None and drawn < _most_drawn(certificate)
    if certificate.ended_by is not None and not in_time:
        yield Check("ended_by", False, "no deadline came before the last vote")
    if certificate.implied is not None:
        for name in recompute.wrongly_implied(
            certificate.implied, certificate.radius, certificate.input.shape
        ):
            yield Check(f"implied.{name}", False, "is not what the radius implies")
        yield Check("implied", True, "")


def _is_certified(certificate: Certificate, proof: Proof) -> bool:
    if certificate.procedure == "predict":
        return _predicts(certificate)
    return proof.radius > (0 if certificate.radius > 0 else SHORTFALL)  # rounding down may have left nothing


def _rule(certificate: Certificate, alpha: float) -> list[tuple[int, float, float]]:
    """The looks that this certificate should have with this alpha."""
    n = _most_drawn(certificate)
    if certificate.procedure != "anytime" or not MIN_ALPHA <= alpha < 1:
        return [(n, alpha, 0.0)]
    stops_early = certificate.target_radius is not None or certificate.tolerance is not None
    return recompute.looks(n, alpha, stops_early=stops_early)


def _same_looks(certificate: Certificate, rule: list[tuple[int, float, float]]) -> bool:
    claimed = certificate.schedule
    return len(claimed) == len(rule) and all(map(_same_look, claimed, rule))


def _same_look(look: Look, rule: tuple[int, float, float]) -> bool:
    n, alpha, runner_up = rule
    return (
        look.n == n
        and math.isclose(look.alpha, alpha, rel_tol=TOLERANCE)
        and math.isclose(look.alpha_runner_up, runner_up, rel_tol=TOLERANCE)
    )


def _most_drawn(certificate: Certificate) -> int:
    return certificate.schedule[-1].n if certificate.schedule else 0


def _selection_votes(certificate: Certificate) -> int:
    return 0 if certificate.procedure == "predict" else certificate.n0


def _look(certificate: Certificate) -> tuple[int, float, float] | None:
    """The look after n votes, which gave the radius; None if n is before the first look."""
    return next((look for look in _rule(certificate, certificate.alpha) if look[0] == certificate.n), None)


def _leader(certificate: Certificate) -> int:
    votes = certificate.counts if certificate.procedure == "predict" else certificate.selection_counts
    return votes.index(max(votes))


def _second(certificate: Certificate, top: int) -> int:
    """The most votes that any other class may have: those of its leader plus votes for no class."""
    others = [count for k, count in enumerate(certificate.counts) if k != top]
    return max(others, default=0) + certificate.n - sum(certificate.counts)


def _prove(certificate: Certificate) -> Proof:
    look = _look(certificate)
    if look is None or certificate.procedure == "predict":
        return Proof(Decimal(0), Decimal(1), 0.0)
    (n, alpha, runner_up), top = look, _leader(certificate)
    lower = recompute.lower_bound(certificate.counts[top], n, alpha - runner_up)
    upper = recompute.upper_bound(_second(certificate, top), n, runner_up)
    off = Decimal(certificate.slack)
    p_lower = max(Decimal(0), lower - off)
    p_upper = min(Decimal(1), upper + off, 1 - p_lower)
    return Proof(p_lower, p_upper, recompute.radius(certificate.sigma, p_lower, p_upper))


def _predicts(certificate: Certificate) -> bool:
    if _look(certificate) is None:
        return False
    top = _leader(certificate)
    first, second = certificate.counts[top], _second(certificate, top)
    rarity = recompute.two_sided(first, second) + certificate.n * certificate.slack
    return first > second and rarity <= certificate.alpha


def _target_met(certificate: Certificate) -> bool | None:
    if certificate.target_radius is None or certificate.procedure == "predict":
        return None
    return certificate.radius >= certificate.target_radius


def _is_bound(claimed: Decimal, proved: Decimal) -> bool:
    """Whether a lower bound is conservative and close. For an upper bound, pass its distances from 1."""
    most = proved + Decimal(EXCESS) if proved else Decimal(0)
    return claimed.is_finite() and max(Decimal(0), proved - Decimal(P_SHORTFALL)) <= claimed <= most


def _proved(certificate: Certificate, proved: float) -> bool:
    least = proved - SHORTFALL * max(1.0, certificate.sigma, proved)
    most = proved + EXCESS * max(certificate.sigma, proved) if proved else 0.0
    return least <= certificate.radius <= most


def _follows(figure: float | Decimal) -> str:
    return f"from the counts follows {figure:.10g}"
