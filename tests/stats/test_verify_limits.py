"""How exactly figures are held to what follows from the counts, and the ends of what is accepted."""

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from smoothcert.noise.normal import slack
from smoothcert.schemas.certificate import Certificate, Look
from smoothcert.schemas.limits import MAX_N
from smoothcert.schemas.parameters import Parameters
from smoothcert.stats import recompute
from smoothcert.stats.procedure import Certification, drive
from smoothcert.testing import KnownVotes
from tests.support.issuing import EVEN, SURE, certificate_for, certification_of, issued, wrong_field


def test_a_radius_is_not_forgiven_its_ninth_digit() -> None:
    certificate = certificate_for({})
    assert wrong_field(certificate, radius=certificate.radius + 2e-9) == "radius"
    assert wrong_field(certificate, radius=certificate.radius - 2e-9) is None


def test_what_lies_within_the_arithmetics_own_error_is_not_held_against_anybody() -> None:
    certificate = certificate_for({})
    for field, safe, unsafe in [
        ("p_lower", -1e-8, 1e-10),
        ("p_upper", 1e-8, -1e-10),
        ("radius", -1e-6, 1e-9),
    ]:
        claimed = getattr(certificate, field)
        assert wrong_field(certificate, **{field: claimed + 0.9 * safe}) is None
        assert wrong_field(certificate, **{field: claimed + 1.1 * safe}) == field
        assert wrong_field(certificate, **{field: claimed + 1.2 * unsafe}) == field


def spends(certificate: Certificate, change: float, part: str) -> list[Look]:
    """The schedule with one look's alpha changed by so much of itself."""
    first, *others = certificate.schedule
    return [first.model_copy(update={part: getattr(first, part) * (1 + change)}), *others]


@pytest.mark.parametrize("part", ["alpha", "alpha_runner_up"])
def test_a_look_may_spend_what_rounding_adds_and_no_more(part: str) -> None:
    certificate = certificate_for({})
    assert wrong_field(certificate, schedule=spends(certificate, 0.9e-8, part)) is None
    assert wrong_field(certificate, schedule=spends(certificate, 1.1e-8, part)) == "schedule"


def test_noise_is_not_better_than_it_can_be_by_one_bit() -> None:
    certificate = certificate_for({})
    assert certificate.slack == slack(0.5, 28 * 28)
    assert wrong_field(certificate, slack=math.nextafter(certificate.slack, 0)) == "slack"


def test_at_the_largest_sigma_a_radius_is_held_to_as_many_digits_as_at_others() -> None:
    certification = Certification(Parameters(sigma=12.0, n=150), 3, slack=slack(12.0, 28 * 28))
    for _ in drive(certification, KnownVotes(SURE), 5000):
        pass
    certificate = issued(certification)
    p_lower = recompute.lower_bound(certificate.counts[1], 150, 0.001) - Decimal(certificate.slack)
    proved = recompute.radius(12.0, p_lower, 1 - p_lower)
    scale = max(12.0, proved)
    for error, holds in [(-1e-6, True), (1e-12, True), (-1.3e-6, False), (1.3e-12, False)]:
        claimed = proved + 0.8 * error * scale
        assert (wrong_field(certificate, radius=claimed) is None) == holds


def test_the_most_votes_that_can_be_asked_for_can_be_verified() -> None:
    certification = certification_of({"n": MAX_N})
    while (votes := certification.request(MAX_N)) is not None:
        certification.add(votes, np.array([0, votes.votes, 0]))
    assert wrong_field(issued(certification)) is None


def test_noise_so_coarse_that_nothing_is_left_proves_nothing() -> None:
    certificate = certificate_for({"procedure": "certify"})
    nothing: dict[str, Any] = {"outcome": "abstained", "predicted_class": None, "label": None, "radius": 0.0}
    assert wrong_field(certificate, slack=0.99, p_lower=0.0, p_upper=1.0, **nothing) is None


def test_a_certificate_of_next_to_nothing_needs_a_proof_of_it() -> None:
    certificate = certificate_for({}, EVEN)
    winner = certificate.selection_counts.index(max(certificate.selection_counts))
    edits = {"outcome": "certified", "predicted_class": winner, "label": "zero", "radius": 1e-10}
    assert wrong_field(certificate, **edits) == "radius"


def test_a_radius_that_rounding_down_has_left_nothing_of_is_an_abstention() -> None:
    """With its slack chosen so that p_lower is above one half by less than rounding takes away."""
    certificate = certificate_for({"procedure": "certify"})
    p_lower = float(recompute.lower_bound(certificate.counts[1], certificate.n, certificate.alpha))
    nothing: dict[str, Any] = {"outcome": "abstained", "predicted_class": None, "label": None, "radius": 0.0}
    hair: dict[str, Any] = {"slack": p_lower - 0.5 - 1e-9, "p_lower": 0.5 + 1e-9, "p_upper": 0.5 - 1e-9}
    assert wrong_field(certificate, **nothing, **hair) is None
    assert wrong_field(certificate, **hair, radius=1e-9) is None  # or a certificate, by whoever rounds less
    visible = {"slack": p_lower - 0.5 - 1e-5, "p_lower": 0.5 + 1e-5, "p_upper": 0.5 - 1e-5}
    assert wrong_field(certificate, **nothing, **visible) == "radius"


def test_a_target_that_is_just_reached_is_met() -> None:
    certificate = certificate_for({"procedure": "certify"})
    assert wrong_field(certificate, target_radius=certificate.radius, target_met=True) is None
    assert wrong_field(certificate, target_radius=certificate.radius, target_met=False) == "target_met"
    above = math.nextafter(certificate.radius, 1)
    assert wrong_field(certificate, target_radius=above, target_met=True) == "target_met"
    assert wrong_field(certificate, target_radius=above, target_met=False) is None


def test_schedules_that_no_request_could_have_are_refused_not_computed() -> None:
    certificate = certificate_for({})
    for n in (0, -5, 10_000_001):
        schedule = [*certificate.schedule[:-1], certificate.schedule[-1].model_copy(update={"n": n})]
        assert wrong_field(certificate, schedule=schedule) == "schedule"
