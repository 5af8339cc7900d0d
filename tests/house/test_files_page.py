"""docs/files.md documents exactly the fields of the files that commands read and write."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from smoothcert.schemas.api_keys import ApiKey
from smoothcert.schemas.card import (
    Calibration,
    CardStatement,
    Evaluation,
    Int8,
    ModelCard,
    Preprocessing,
    Protocol,
    Quantization,
    Rounding,
)
from smoothcert.schemas.certificate import (
    Certificate,
    EngineDescription,
    Implied,
    InputDigest,
    Look,
    MadeBy,
    ModelDigest,
    PublicKey,
    Signature,
)
from smoothcert.schemas.evaluation_log import COLUMNS
from smoothcert.schemas.evaluation_run import EvaluationRun
from smoothcert.schemas.statement import ClassShares, DataDigest, Share, Statement

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "files.md").read_text()
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
SECTION_OF = {
    "A checkpoint: a folder": [
        ModelCard, Preprocessing, Evaluation, Protocol, Int8, Quantization, Calibration, Rounding,
        CardStatement,
    ],
    "A certificate": [
        Certificate, Implied, Look, MadeBy, ModelDigest, InputDigest, EngineDescription, Signature
    ],
    "A statement": [Statement, Share, ClassShares, DataDigest],
    "A log of an evaluation": [EvaluationRun],
    "Keys": [ApiKey, PublicKey],
}  # fmt: skip


def documented(section: str) -> set[str]:
    return set(re.findall(r"`([a-z0-9_]+)`", SECTIONS[section]))


@pytest.mark.parametrize(
    ("section", "model"), [(section, model) for section, models in SECTION_OF.items() for model in models]
)
def test_every_field_is_documented(section: str, model: type[BaseModel]) -> None:
    assert model.model_fields.keys() - documented(section) == set()


def test_every_column_of_a_log_is_documented() -> None:
    assert set(COLUMNS) - documented("A log of an evaluation") == set()


@pytest.mark.parametrize("section", ["A checkpoint: a folder", "A certificate"])
def test_every_documented_field_exists(section: str) -> None:
    """The first column of a table holds fields only."""
    cells = [line.split("|")[1] for line in SECTIONS[section].splitlines() if line.startswith("| `")]
    known = {field for model in SECTION_OF[section] for field in model.model_fields}
    assert {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)} <= known
