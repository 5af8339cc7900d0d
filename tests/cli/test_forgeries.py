"""No edit of a genuine certificate is accepted unless an oracle of its own says that it is still proved."""

import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothcert.cli.settings import settings as program
from smoothcert.cli.verify import unknown_fields, verify
from smoothcert.errors import InternalError
from smoothcert.models.registry import read_card
from smoothcert.schemas.card import ModelCard
from smoothcert.schemas.certificate import Certificate, PublicKeys
from smoothcert.schemas.json_text import parse_document
from smoothcert.signing import Signer
from tests.cli.conftest import MODEL, settings_of
from tests.cli.forging import edits, forgeries, genuine, oracle_card, verdict
from tests.support.oracle import why_not

Document = dict[str, Any]


@pytest.fixture(scope="module")
def card(models: Path) -> Iterator[ModelCard]:
    """Of the one model that the program knows meanwhile."""
    with pytest.MonkeyPatch.context() as changes:
        for name, value in settings_of(models).items():
            changes.setenv(name, value)
        program.cache_clear()
        yield read_card(models / MODEL)
    program.cache_clear()


@pytest.fixture(scope="module")
def documents(card: ModelCard) -> list[Document]:
    return genuine(card)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("forged") / "cert.json"


def test_the_genuine_certificates_hold(card: ModelCard, path: Path) -> None:
    for document in genuine(card):
        assert verdict(path, json.dumps(document).encode(), oracle_card(card), meant=True) == "held"


@settings(max_examples=300)
@given(st.data(), st.booleans())
def test_no_edit_is_accepted_that_an_oracle_finds_unproved(
    card: ModelCard, documents: list[Document], path: Path, data: st.DataObject, meant: bool
) -> None:
    forged = data.draw(forgeries(documents))
    assert verdict(path, forged, oracle_card(card), meant=meant) in ("refused", "held")


@settings(max_examples=100)
@given(st.data())
def test_no_edit_of_a_signed_certificate_is_accepted(
    documents: list[Document], path: Path, data: st.DataObject
) -> None:
    signer, keys = Signer.draw(), path.with_name("keys.json")
    keys.write_text(PublicKeys(keys=(signer.public,)).model_dump_json())
    signed = signer.sign(Certificate.model_validate(data.draw(st.sampled_from(documents))))
    document = json.loads(signed.model_dump_json())
    edited = json.loads(json.dumps(document))
    data.draw(edits(edited)).on(edited)
    path.write_text(json.dumps(edited))
    with contextlib.suppress(InternalError):
        verify([path], public_key=keys)
        assert canonical(edited) == canonical(document)


def canonical(value: Any) -> Any:
    """Equal where RFC 8785 writes the same: 1 and 1.0, but not 1 and true."""
    if isinstance(value, dict):
        return {name: canonical(item) for name, item in value.items()}
    if isinstance(value, list):
        return [canonical(item) for item in value]
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return str(int(value))
    return repr(value)


def edited(card: ModelCard, which: int, **changes: Any) -> bytes:
    return json.dumps(genuine(card)[which] | changes).encode()


def test_the_oracle_finds_what_is_not_proved(card: ModelCard) -> None:
    """It would be of no use if it agreed to anything."""
    radius, own = genuine(card)[0]["radius"], oracle_card(card)
    assert why_not(edited(card, 0), own, meant=True) is None
    for changes in (
        {"radius": radius + 1e-6},
        {"alpha": 0.01},
        {"slack": 0.0},
        {"seed": "5e"},
        {"sigma": 0.4, "radius": radius * 0.8},
        {"predicted_class": 1, "label": "1"},
    ):
        assert why_not(edited(card, 0, **changes), own) is not None


def test_fields_of_later_versions_are_left_alone(card: ModelCard, path: Path) -> None:
    document = edited(card, 0, impressed={"linf": 0.01, "deeper": [1]}, later=3)
    assert verdict(path, document, oracle_card(card), meant=True) == "held"
    assert unknown_fields(parse_document(document), Certificate) == ["impressed", "later"]


def test_certificates_of_the_first_version_still_hold(card: ModelCard, path: Path) -> None:
    """Before `drawn`, `implied`, the classifier's digest, tolerance and signatures."""
    for document in genuine(card):
        for later in ("tolerance", "drawn", "signature"):
            if document[later] is None or later == "drawn":
                del document[later]
        del document["model"]["classifier_sha256"], document["implied"]
        assert verdict(path, json.dumps(document).encode(), oracle_card(card), meant=True) == "held"
