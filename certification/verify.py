"""Does a certificate say what its counts prove? Every figure is recomputed with the code of `recompute`.

What is not checked here: that the votes were really cast (replay), on this image and by this network
(digests), and who says so (signature). Each of those adds its own Checks to a Report.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from certification import recompute
from certification.contract.certificate import Certificate, Look
from certification.contract.parameters import MAX_N
from certification.noise import LARGEST_SIGMA, slack

P_TOLERANCE = 1e-8  # absolute, on probabilities
TOLERANCE = 1e-8  # relative, on alpha
SHORTFALL = 1e-6  # relative and absolute: how far a radius may lie below the one recomputed
EXCESS = 1e-9  # relative and absolute: how far it may lie above, for the recomputation is not rounded down


@dataclass(frozen=True)
class Check:
    """One field of the certificate: what it claims, and what it should say as far as it is wrong."""

    field: str
    holds: bool
    reason: str


@dataclass(frozen=True)
class Report:
    """All checks, in the order of the evidence: what a later one relies on is checked before."""

    checks: tuple[Check, ...]

    @property
    def first_wrong(self) -> Check | None:
        """Why the certificate is refused, or None when every check holds."""
        return next((check for check in self.checks if not check.holds), None)


@dataclass(frozen=True)
class Proof:
    """What the counts prove."""

    p_lower: float
    p_upper: float
    radius: float


def verify(certificate: Certificate) -> Report:
    """Recompute everything that follows from the counts. The first check that fails names the edited field,
    or the first figure that doesn't follow from it."""
    return Report((*_checks_of_evidence(certificate), *_checks_of_claims(certificate, _prove(certificate))))


def _checks_of_evidence(certificate: Certificate) -> Iterator[Check]:
    rule = _rule(certificate, certificate.alpha)
    spent = math.fsum(look.alpha for look in certificate.schedule)
    alpha_edited = not _same_looks(certificate, rule) and _same_looks(certificate, _rule(certificate, spent))
    yield Check("sigma", _has_noise(certificate), f"must be above 0 and at most {LARGEST_SIGMA:g}")
    yield Check("alpha", not alpha_edited, f"the schedule spends {spent:.6g}")
    yield Check("schedule", _same_looks(certificate, rule), "is not the one for this procedure, n and alpha")
    bound = "runner_up" if len(rule) > 1 else "one_sided"
    yield Check("bound", certificate.bound == bound, f"this schedule goes with {bound}")
    yield Check("slack", certificate.slack >= _least_slack(certificate), "is less than the noise's own")
    yield _check_votes("selection_counts", certificate.selection_counts, _selection_votes(certificate))
    yield _check_votes("counts", certificate.counts, certificate.n)
    same_length = len(certificate.counts) == len(certificate.selection_counts)
    yield Check("counts", same_length, "selection and estimation must be about the same classes")
    drawn = certificate.n if certificate.drawn is None else certificate.drawn
    yield Check(
        "drawn", certificate.n <= drawn <= _most_drawn(certificate), "must lie between n and the last look"
    )
    at_look = _look(certificate) is not None
    readable = at_look or certificate.outcome == "abstained"
    yield Check("n", readable, "no look of the schedule is after n votes")


def _checks_of_claims(certificate: Certificate, proof: Proof) -> Iterator[Check]:
    certified = _is_certified(certificate, proof)
    outcome = "certified" if certified else "abstained"
    yield Check("p_lower", _near(certificate.p_lower, proof.p_lower), _follows(proof.p_lower))
    yield Check("p_upper", _near(certificate.p_upper, proof.p_upper), _follows(proof.p_upper))
    yield Check("radius", _proved(certificate, proof.radius), _follows(proof.radius))
    yield Check("outcome", certificate.outcome == outcome, f"the counts say {outcome}")
    winner = _leader(certificate) if certified else None
    yield Check("predicted_class", certificate.predicted_class == winner, f"the counts say {winner}")
    yield Check("label", (certificate.label is None) == (winner is None), "goes with predicted_class")
    met = _target_met(certificate)
    yield Check("target_met", certificate.target_met == met, f"the radius says {met}")


def _is_certified(certificate: Certificate, proof: Proof) -> bool:
    if certificate.procedure == "predict":
        return _predicts(certificate)
    return proof.radius > (0 if certificate.radius > 0 else SHORTFALL)  # rounding down may have left nothing


def _rule(certificate: Certificate, alpha: float) -> list[tuple[int, float, float]]:
    """The looks this certificate should have, were `alpha` its own."""
    n = _most_drawn(certificate)
    if certificate.procedure != "anytime" or not (1 <= n <= MAX_N and 0 < alpha < 1):
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


def _check_votes(field: str, counts: list[int], most: int) -> Check:
    fits = all(count >= 0 for count in counts) and sum(counts) <= most
    return Check(field, fits, f"must be counts of at most {most} votes")


def _most_drawn(certificate: Certificate) -> int:
    return certificate.schedule[-1].n if certificate.schedule else 0


def _selection_votes(certificate: Certificate) -> int:
    return 0 if certificate.procedure == "predict" else certificate.n0


def _least_slack(certificate: Certificate) -> float:
    if not _has_noise(certificate):
        return 0.0
    return slack(certificate.sigma, math.prod(certificate.input.shape))


def _has_noise(certificate: Certificate) -> bool:
    return 0 < certificate.sigma <= LARGEST_SIGMA


def _look(certificate: Certificate) -> Look | None:
    """The look whose bound gave the radius: the one after n votes. None before the first."""
    return next((look for look in certificate.schedule if look.n == certificate.n), None)


def _leader(certificate: Certificate) -> int:
    votes = certificate.counts if certificate.procedure == "predict" else certificate.selection_counts
    return votes.index(max(votes))


def _second(certificate: Certificate, top: int) -> int:
    """The most that any other class may have: its leader's votes and nobody's."""
    others = [count for k, count in enumerate(certificate.counts) if k != top]
    return max(others, default=0) + certificate.n - sum(certificate.counts)


def _prove(certificate: Certificate) -> Proof:
    look = _look(certificate)
    if look is None or certificate.procedure == "predict" or not _is_readable(certificate):
        return Proof(0.0, 1.0, 0.0)
    top, n = _leader(certificate), certificate.n
    lower = recompute.lower_bound(certificate.counts[top], n, look.alpha - look.alpha_runner_up)
    upper = recompute.upper_bound(_second(certificate, top), n, look.alpha_runner_up)
    p_lower = max(0.0, lower - certificate.slack)
    p_upper = min(1.0, upper + certificate.slack, 1 - p_lower)
    return Proof(p_lower, p_upper, recompute.radius(certificate.sigma, p_lower, p_upper))


def _is_readable(certificate: Certificate) -> bool:
    """Whether the counts are counts at all, so that the bounds have a meaning."""
    classes = len(certificate.selection_counts)
    possible = min(certificate.counts, default=-1) >= 0 and sum(certificate.counts) <= certificate.n
    return possible and classes == len(certificate.counts)


def _predicts(certificate: Certificate) -> bool:
    if _look(certificate) is None or not _is_readable(certificate):
        return False
    top = _leader(certificate)
    first, second = certificate.counts[top], _second(certificate, top)
    rarity = recompute.two_sided(first, second) + certificate.n * certificate.slack
    return first > second and rarity <= certificate.alpha


def _target_met(certificate: Certificate) -> bool | None:
    if certificate.target_radius is None or certificate.procedure == "predict":
        return None
    return certificate.radius >= certificate.target_radius


def _near(claimed: float, proved: float) -> bool:
    return abs(claimed - proved) <= P_TOLERANCE


def _proved(certificate: Certificate, proved: float) -> bool:
    scale = max(1.0, certificate.sigma, proved)
    return proved - SHORTFALL * scale <= certificate.radius <= proved + EXCESS * scale


def _follows(figure: float) -> str:
    return f"from the counts follows {figure:.10g}"
