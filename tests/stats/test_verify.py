"""What a certificate may not claim, and that it is told which field is wrong."""

from typing import Any

import numpy as np
import pytest

from smoothcert.noise.normal import slack
from smoothcert.schemas.certificate import Look
from smoothcert.schemas.parameters import Parameters
from smoothcert.stats.procedure import Certification, drive
from smoothcert.stats.verify import verify
from smoothcert.testing import KnownVotes
from smoothcert.votes import VoteRange
from tests.support.issuing import EVEN, SURE, certificate_for, certification_of, issued, wrong_field

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


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("probabilities", [SURE, EVEN, [0.0, 1.0, 0.0], [0.0, 0.9, 0.05]])
def test_every_certificate_we_issue_holds(wish: dict[str, Any], probabilities: list[float]) -> None:
    report = verify(certificate_for(wish, probabilities))
    assert report.first_wrong is None
    assert {"schedule", "p_lower", "p_upper", "radius", "outcome"} <= {check.field for check in report.checks}


@pytest.mark.parametrize("wish", WISHES)
def test_a_certificate_from_coarser_noise_holds_for_less(wish: dict[str, Any]) -> None:
    coarse = certification_of(wish, more_slack=1e-3)
    for _ in drive(coarse, KnownVotes([0.02, 0.9, 0.01]), 5000):
        pass
    certificate = issued(coarse)
    assert wrong_field(certificate) is None
    if wish.get("procedure") != "predict":
        assert wrong_field(certificate, slack=2e-3) == "p_lower"


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
        ("drawn", {"drawn": 10_001}),
        ("sigma", {"sigma": 0.0}),
        ("sigma", {"sigma": -0.5}),
        ("alpha", {"alpha": 0.0}),
        ("alpha", {"alpha": -0.001}),
        ("alpha", {"alpha": 1.0}),
        ("alpha", {"alpha": 2.0}),
        ("counts", {"counts": []}),
        ("selection_counts", {"counts": [], "selection_counts": []}),
        ("selection_counts", {"selection_counts": [-1, 101, 0]}),
        ("predicted_class", {"predicted_class": None}),
        ("target_met", {"target_met": False}),
        ("n", {"n": 9_999, "counts": [0, 0, 0]}),
        ("sigma", {"sigma": 1e-7}),
        ("sigma", {"sigma": 2e-6}),
        ("n0", {"n0": 0}),
        ("n0", {"n0": 10**400}),
        ("alpha", {"alpha": 5.0}),
        ("alpha", {"alpha": float("inf")}),
        ("target_radius", {"target_radius": -1.0}),
        ("tolerance", {"tolerance": 1.0}),
        ("schedule", {"target_radius": 20.0, "target_met": False}),
        ("schedule", {"schedule": [Look(n=10_000, alpha=1e308)] * 3}),
        ("schedule", {"schedule": [Look(n=10_000, alpha=0.001, alpha_runner_up=-1.0)]}),
        ("schedule", {"schedule": [Look(n=10**400, alpha=0.001)]}),
        ("drawn", {"n": 10**400, "drawn": 10**400}),
        ("slack", {"slack": -0.5}),
        ("slack", {"slack": 1.1}),
        ("slack", {"slack": float("nan")}),
        ("seed", {"seed": "5e"}),
        ("seed", {"seed": "0x" + "0" * 30}),
        ("seed", {"seed": "g" * 32}),
        ("p_lower", {"p_lower": float("nan")}),
    ],
)
def test_an_edited_certificate_is_refused_with_the_field_that_is_wrong(
    field: str, edit: dict[str, Any]
) -> None:
    assert wrong_field(certificate_for({}), **edit) == field


def test_a_prediction_cut_short_is_an_abstention() -> None:
    certification = certification_of({"procedure": "predict", "n": 500})
    certification.add(VoteRange("estimation", 0, 400), np.array([0, 400, 0]))
    assert wrong_field(issued(certification)) is None


def test_a_certificate_that_does_not_say_how_many_votes_were_drawn_is_read_as_if_none_were_added() -> None:
    assert wrong_field(certificate_for({}), drawn=None) is None


def test_a_deadline_can_only_have_ended_what_was_not_drawn_to_the_end() -> None:
    assert wrong_field(certificate_for({"deadline": 1.0}), ended_by="deadline") == "ended_by"
    assert wrong_field(certificate_for({"deadline": 1.0})) is None


@pytest.mark.parametrize("deadline", [0.0, -1.0, 86_401.0])
def test_a_deadline_that_no_request_could_have_is_refused(deadline: float) -> None:
    assert wrong_field(certificate_for({}), deadline=deadline) == "deadline"
    assert wrong_field(certificate_for({}), deadline=86_400.0) is None
    assert wrong_field(certificate_for({"procedure": "certify"}), deadline=1.0) == "deadline"


def test_a_prediction_says_nothing_of_selection_votes() -> None:
    assert wrong_field(certificate_for({"procedure": "predict", "n": 500}), selection_counts=[1, 0, 0]) == (
        "selection_counts"
    )


def test_a_prediction_needs_all_its_votes() -> None:
    certificate = certificate_for({"procedure": "predict", "n": 500})
    assert wrong_field(certificate, counts=[0, 260, 240]) == "outcome"
    assert wrong_field(certificate, n=499, drawn=500, counts=[0, 499, 0]) == "n"
    assert wrong_field(certificate, slack=1e-3) == "outcome"  # 500 votes, each off by a thousandth


def test_votes_for_no_class_count_for_the_runner_up() -> None:
    certificate = certificate_for({"procedure": "certify"})
    one, two = certificate.counts[1], certificate.counts[2]
    assert wrong_field(certificate, counts=[0, one, two]) is None  # a one-sided bound reads the leader alone
    certificate = certificate_for({})
    assert wrong_field(certificate, counts=[0, certificate.counts[1], 0]) == "p_upper"


@pytest.mark.parametrize("wish", [{"n": 150}, {"n": 5000}, {"procedure": "predict", "n": 11}])
def test_a_single_class_is_certified_without_a_runner_up(wish: dict[str, Any]) -> None:
    parameters = Parameters.model_validate({"sigma": 0.5} | wish)
    certification = Certification(parameters, 1, slack=slack(0.5, 28 * 28))
    for _ in drive(certification, KnownVotes([1.0]), 5000):
        pass
    certificate = issued(certification)
    assert certificate.outcome == "certified"
    assert wrong_field(certificate) is None


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


@pytest.mark.parametrize(
    "shape",
    [(0, 28, 28), (1, 0, 28), (1, 28, -28), (-(10**30), 1, 1), (2, 28, 28), (1, 10**400, 1), (1, 4097, 28)],
)
def test_a_picture_that_cannot_be_is_refused(shape: tuple[int, int, int]) -> None:
    certificate = certificate_for({})
    edited = certificate.input.model_copy(update={"shape": shape})
    assert wrong_field(certificate, input=edited) == "input.shape"


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("input", "sha256", "0" * 63),
        ("model", "sha256", ""),
        ("model", "classifier_sha256", ""),
        ("model", "name", "../elsewhere"),
        ("engine", "batch", 0),
    ],
)
def test_what_identifies_nothing_is_refused(part: str, field: str, value: Any) -> None:
    certificate = certificate_for({})
    edited = getattr(certificate, part).model_copy(update={field: value})
    assert wrong_field(certificate, **{part: edited}) == f"{part}.{field}"


def test_a_class_without_votes_is_not_certified_by_a_negative_slack() -> None:
    certificate = certificate_for({"procedure": "certify"})
    edits = {"slack": -0.9, "p_lower": 0.9, "p_upper": 0.1, "counts": [10_000, 0, 0]}
    assert wrong_field(certificate, **edits) == "slack"


@pytest.mark.parametrize("wish", [{"procedure": "predict", "n": 500}, {"procedure": "certify"}])
def test_where_nothing_is_proved_not_even_a_billionth_is(wish: dict[str, Any]) -> None:
    abstained = certificate_for(wish, EVEN)
    assert abstained.outcome == "abstained"
    assert wrong_field(abstained, radius=1e-10) == "radius"
    if wish["procedure"] == "predict":
        assert wrong_field(abstained, p_lower=1e-10) == "p_lower"
        assert wrong_field(abstained, p_upper=1 - 1e-10) == "p_upper"


def test_only_what_was_confirmed_is_listed_as_checked() -> None:
    listed = {check.field for check in verify(certificate_for({})).checks}
    assert not listed & {"sigma", "counts", "selection_counts", "label", "seed", "model", "input", "engine"}
