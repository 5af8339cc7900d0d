"""Documents beside the card of a model: what differs is refused, what may be another model is not."""

from typing import Any

import pytest

from smoothcert.models.registry import BUNDLED, DEFAULT_MODEL, STATEMENT_FILE, read_card
from smoothcert.schemas.card import ModelCard
from smoothcert.schemas.certificate import Certificate, InputDigest
from smoothcert.schemas.statement import Statement
from smoothcert.stats.compare import check_input, check_model, check_named, check_statement
from smoothcert.stats.verify import Check
from tests.support.issuing import CARD, SHAPE, certificate_for


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    return certificate_for({})


def card_with(**changes: Any) -> ModelCard:
    return CARD.model_copy(update=changes)


def wrong(*checks: Check) -> str | None:
    return next((check.field for check in checks if not check.holds), None)


def test_a_certificate_is_about_the_model_that_made_it(certificate: Certificate) -> None:
    for checks in (list(check_model(certificate, CARD)), list(check_named(certificate, CARD))):
        assert [check.field for check in checks] == ["model", "sigma", "label"]
        assert wrong(*checks) is None


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("sigma", {"sigma": 0.25}),
        ("label", {"labels": ["zero", "won", "two"]}),
        ("counts", {"labels": ["zero", "one"]}),
        ("input.shape", {"input_shape": (1, 28, 29)}),
    ],
)
def test_what_the_card_says_otherwise_is_named_for_a_model_that_nobody_named_too(
    certificate: Certificate, field: str, changes: dict[str, Any]
) -> None:
    assert wrong(*check_named(certificate, card_with(**changes))) == field


def test_another_network_of_that_name_is_refused_only_where_it_is_meant(certificate: Certificate) -> None:
    other = card_with(architecture="resnet20")
    assert wrong(*check_model(certificate, other)) == "model"
    assert [check.field for check in check_named(certificate, other)] == ["sigma", "label"]


def test_pixels_are_compared_by_shape_and_digest(certificate: Certificate) -> None:
    for shape, sha256, holds in (
        (SHAPE, "0" * 64, True),
        (SHAPE, "1" * 64, False),
        ((1, 1, 1), "0" * 64, False),
    ):
        here = InputDigest(shape=shape, sha256=sha256, preprocessing=["decoded from PNG, 1x1"])
        assert check_input(certificate, here, "this").holds == holds


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        (None, {}),
        ("sigma", {"sigma": 0.25}),
        ("classes", {"labels": list("abcdefghij")}),
        ("slack", {"input_shape": (1, 32, 32)}),
        ("model.sha256", {"weights_sha256": "0" * 64}),
        ("model.classifier_sha256", {"architecture": "resnet20"}),
    ],
)
def test_a_statement_is_about_the_model_with_its_card(field: str | None, changes: dict[str, Any]) -> None:
    folder = BUNDLED / DEFAULT_MODEL
    statement = Statement.model_validate_json((folder / STATEMENT_FILE).read_bytes())
    if field == "slack":  # of a document without the digest that would tell
        model = statement.model.model_copy(update={"classifier_sha256": None})
        statement = statement.model_copy(update={"model": model})
    card = read_card(folder).model_copy(update=changes)
    assert wrong(*check_statement(statement, card)) == field
