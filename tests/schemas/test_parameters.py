"""What may be asked: the limits that docs/api.md states, to the last value that is allowed."""

from typing import Any

import pytest
from pydantic import ValidationError

from smoothcert.schemas.parameters import Parameters, ProcedureName


def asked(**options: Any) -> Parameters:
    return Parameters.model_validate({"sigma": 0.5} | options)


@pytest.mark.parametrize(
    ("field", "allowed", "refused"),
    [
        ("n0", [1, 1_000_000], [0, 1_000_001]),
        ("n", [1, 10_000_000], [0, 10_000_001]),
        ("alpha", [1e-12, 0.999], [0.9e-12, 0.0, -0.1, 1.0]),
        ("target_radius", [1e-9, 1e9, None], [0.0, -1.0, float("inf"), float("nan")]),
        ("tolerance", [1e-9, 0.999, None], [0.0, 1.0, -0.1]),
        ("sigma", [1e-4, 12.0], [0.0, -0.5, 0.99e-4, 12.1, float("inf"), float("nan")]),
        ("procedure", ["anytime", "certify", "predict"], ["guess"]),
    ],
)
def test_each_field_takes_what_is_documented_and_nothing_beyond(
    field: str, allowed: list[Any], refused: list[Any]
) -> None:
    for value in allowed:
        assert getattr(asked(**{field: value}), field) == value
    for value in refused:
        with pytest.raises(ValidationError, match=field):
            asked(**{field: value})


def test_what_is_left_open_is_asked_as_the_field_asks_it() -> None:
    plain = asked()
    assert (plain.n0, plain.n, plain.alpha, plain.procedure) == (100, 100_000, 0.001, "anytime")
    assert (plain.target_radius, plain.tolerance) == (None, None)


def test_a_question_cannot_change_after_it_was_answered() -> None:
    with pytest.raises(ValidationError):
        asked().alpha = 0.5


def test_the_schema_says_what_every_field_means() -> None:
    for name, field in Parameters.model_json_schema()["properties"].items():
        assert field.get("description"), name


@pytest.mark.parametrize("deadline", [0, -1, float("inf"), float("nan"), 1e9])
def test_a_deadline_is_a_number_of_seconds_up_to_a_day(deadline: float) -> None:
    with pytest.raises(ValidationError, match="deadline"):
        Parameters(sigma=0.5, deadline=deadline)


@pytest.mark.parametrize("procedure", ["certify", "predict"])
def test_a_deadline_goes_with_the_anytime_procedure_only(procedure: ProcedureName) -> None:
    assert Parameters(sigma=0.5, deadline=1.5).deadline == 1.5
    with pytest.raises(ValidationError, match="proves nothing before its last vote"):
        Parameters(sigma=0.5, procedure=procedure, deadline=1)
