"""What a statement alone can't be: more than so many votes prove, or a mean that its shares don't allow."""

from typing import Any

import pytest

from smoothcert.models.registry import BUNDLED, DEFAULT_MODEL, STATEMENT_FILE
from smoothcert.schemas.statement import Statement
from smoothcert.stats.statement_checks import verify_statement


def wrong_field(**changes: Any) -> str | None:
    text = (BUNDLED / DEFAULT_MODEL / STATEMENT_FILE).read_bytes()
    wrong = verify_statement(Statement.model_validate_json(text).model_copy(update=changes)).first_wrong
    return wrong.field if wrong else None


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        (None, {}),
        ("radii", {"n": 1000}),
        ("radii", {"sigma": 0.4}),
        ("mean_radius", {"mean_radius": 1.75}),
        ("mean_radius", {"mean_radius": 1.5}),
        ("median_radius", {"median_radius": 2.5}),
    ],
)
def test_radii_beyond_the_votes_and_means_beyond_the_shares_are_refused(
    field: str | None, changes: dict[str, Any]
) -> None:
    assert wrong_field(**changes) == field
