from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certification import recompute
from certification.bounds import clopper_pearson_lower, clopper_pearson_upper, radius_between
from certification.contract.card import ModelCard, Preprocessing
from certification.contract.certificate import Certificate, Engine, InputDigest
from certification.contract.parameters import Parameters
from certification.issue import issue
from certification.noise import slack
from certification.procedure import Certification, drive
from certification.schedule import plan_for
from certification.verify import verify
from certification.votes import VoteRange
from tests.certification.fakes import KnownVotes

SHAPE = (1, 28, 28)
CARD = ModelCard(
    name="known",
    architecture="lenet",
    dataset="mnist",
    input_shape=SHAPE,
    labels=["zero", "one", "two"],
    preprocessing=Preprocessing(mode="L", mean=(0.0,), std=(1.0,)),
    sigma=0.5,
    method="gaussian",
    weights_sha256="0" * 64,
    data_license="none",
)
SURE = [0.05, 0.92, 0.03]
EVEN = [0.34, 0.33, 0.33]
WISHES: list[dict[str, Any]] = [
    {},
    {"n": 150},
    {"target_radius": 0.4},
    {"target_radius": 1.0},
    {"tolerance": 0.1},
    {"procedure": "certify"},
    {"procedure": "certify", "target_radius": 0.2},
    {"procedure": "predict", "n": 500},
]


def certification_of(wish: dict[str, Any]) -> Certification:
    parameters = Parameters.model_validate({"sigma": 0.5, "n": 10_000} | wish)
    return Certification(parameters, 3, slack=slack(0.5, 28 * 28))


def issued(certification: Certification) -> Certificate:
    return issue(
        certification.result,
        certification.parameters,
        card=CARD,
        input_digest=InputDigest(shape=SHAPE, sha256="0" * 64, preprocessing=[]),
        seed="0" * 32,
        engine=Engine(device="cpu", backend="eager", precision="float32", batch=1),
    )


def certificate_for(wish: dict[str, Any], probabilities: list[float] = SURE) -> Certificate:
    certification = certification_of(wish)
    for _ in drive(certification, KnownVotes(probabilities), 5000):
        pass
    return issued(certification)


def wrong_field(certificate: Certificate, **edits: Any) -> str | None:
    """Which field is refused after editing these, or None when all holds."""
    wrong = verify(certificate.model_copy(update=edits)).first_wrong
    return wrong.field if wrong else None


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("probabilities", [SURE, EVEN, [0.0, 1.0, 0.0], [0.0, 0.9, 0.05]])
def test_every_certificate_we_issue_holds(wish: dict[str, Any], probabilities: list[float]) -> None:
    report = verify(certificate_for(wish, probabilities))
    assert report.first_wrong is None
    assert {"schedule", "p_lower", "p_upper", "radius", "outcome"} <= {check.field for check in report.checks}


def test_a_certificate_cut_short_between_looks_holds() -> None:
    certification = certification_of({})
    for votes, counts in [
        (VoteRange("selection", 0, 100), [0, 99, 1]),
        (VoteRange("estimation", 0, 100), [0, 99, 1]),
        (VoteRange("estimation", 100, 110), [0, 10, 0]),
    ]:
        certification.add(votes, np.array(counts))
    assert certification.result.radius > 0
    assert wrong_field(issued(certification)) is None


def test_a_certificate_cut_short_before_anything_holds() -> None:
    assert wrong_field(issued(certification_of({}))) is None


@pytest.mark.parametrize(
    ("field", "edit"),
    [
        ("radius", {"radius": 0.9}),
        ("p_lower", {"p_lower": 0.95}),
        ("p_upper", {"p_upper": 0.01}),
        ("predicted_class", {"predicted_class": 0}),
        ("outcome", {"outcome": "abstained"}),
        ("label", {"label": None}),
        ("target_met", {"target_met": True}),
        ("bound", {"bound": "one_sided"}),
        ("alpha", {"alpha": 0.01}),
        ("alpha", {"alpha": float("nan")}),
        ("schedule", {"schedule": []}),
        ("schedule", {"target_radius": 0.1, "target_met": True}),
        ("schedule", {"procedure": "certify"}),
        ("slack", {"slack": 0.0}),
        ("sigma", {"sigma": 20.0}),
        ("radius", {"sigma": 0.500001, "slack": 1e-12}),
        ("radius", {"radius": float("nan")}),
        ("counts", {"counts": [0, 10_001, 0]}),
        ("counts", {"counts": [-100, 9_500, 300]}),
        ("counts", {"counts": [9_000, 1_000]}),
        ("p_lower", {"counts": [100, 9_800, 100]}),
        ("selection_counts", {"selection_counts": [0, 101, 0]}),
        ("n", {"n": 9_999, "counts": [0, 9_000, 999]}),
        ("drawn", {"n": 20_000}),
        ("drawn", {"drawn": 9_999}),
    ],
)
def test_an_edited_certificate_is_refused_with_the_field_that_is_wrong(
    field: str, edit: dict[str, Any]
) -> None:
    assert wrong_field(certificate_for({}), **edit) == field


def test_a_radius_is_not_forgiven_its_ninth_digit() -> None:
    certificate = certificate_for({})
    assert wrong_field(certificate, radius=certificate.radius + 2e-9) == "radius"
    assert wrong_field(certificate, radius=certificate.radius - 2e-9) is None


def test_a_look_moved_to_the_luckiest_moment_is_refused() -> None:
    certificate = certificate_for({})
    schedule = [*certificate.schedule[:-1], certificate.schedule[-1].model_copy(update={"n": 9_999})]
    assert wrong_field(certificate, schedule=schedule, n=9_999) == "schedule"


def test_alpha_kept_from_the_other_looks_is_refused() -> None:
    certificate = certificate_for({})
    schedule = [*certificate.schedule[:-1], certificate.schedule[-1].model_copy(update={"alpha": 0.001})]
    assert wrong_field(certificate, schedule=schedule) == "schedule"


def test_an_abstention_turned_into_a_certificate_is_refused() -> None:
    certificate = certificate_for({}, EVEN)
    edits = {"outcome": "certified", "predicted_class": 1, "label": "one", "radius": 0.2}
    assert wrong_field(certificate, **edits) == "radius"


def test_a_class_no_test_supports_is_refused() -> None:
    certificate = certificate_for({"procedure": "predict"}, EVEN)
    edits = {"outcome": "certified", "predicted_class": 1, "label": "one"}
    assert wrong_field(certificate, **edits) == "outcome"


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 50_000), st.floats(0, 1), st.floats(1e-7, 0.3))
def test_both_routes_to_the_bounds_agree(n: int, share: float, alpha: float) -> None:
    k = round(share * n)
    assert recompute.lower_bound(k, n, alpha) == pytest.approx(clopper_pearson_lower(k, n, alpha), abs=1e-10)
    assert recompute.upper_bound(k, n, alpha) == pytest.approx(clopper_pearson_upper(k, n, alpha), abs=1e-10)


@settings(deadline=None)
@given(st.floats(0.001, 0.999), st.floats(0.001, 0.999))
def test_both_routes_to_the_radius_agree(p_lower: float, p_upper: float) -> None:
    assert recompute.radius(0.5, p_lower, p_upper) == pytest.approx(
        radius_between(0.5, p_lower, p_upper), abs=1e-12
    )


@given(st.integers(10, 10_000_000), st.floats(1e-6, 0.5), st.booleans())
def test_both_routes_to_the_looks_agree(n: int, alpha: float, stops_early: bool) -> None:
    plan = plan_for(Parameters(sigma=0.5, n=n, alpha=alpha, tolerance=0.1 if stops_early else None))
    ours = [(look.n, look.alpha, look.alpha_runner_up) for look in plan.looks]
    again = recompute.looks(n, alpha, stops_early=stops_early)
    assert [votes for votes, *_ in ours] == [votes for votes, *_ in again]
    assert np.allclose(ours, again, rtol=1e-9, atol=0)
