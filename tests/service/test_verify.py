"""POST /verify: the verdict on certificates, with and without their image."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from smoothcert.images.decode import read_image
from smoothcert.schemas.certificate import Certificate
from tests.support.cards import card_with
from tests.support.issuing import certificate_for


@pytest.fixture
def certificate(digit: bytes) -> Certificate:
    """Of a digit, by a model that this service does not have."""
    digest = read_image(digit, card_with()).digest
    return certificate_for({}).model_copy(update={"input": digest})


def verdict(client: TestClient, certificate: Certificate, image: bytes | None = None, **changes: Any) -> Any:
    document = json.dumps(certificate.model_dump(mode="json") | changes)
    files = {"certificate": ("cert.json", document)} | ({"image": ("digit.png", image)} if image else {})
    answer = client.post("/verify", files=files)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_genuine_certificate_holds(client: TestClient, certificate: Certificate, digit: bytes) -> None:
    alone = verdict(client, certificate)
    assert (alone["holds"], alone["refused"]) == (True, None)
    assert {"alpha", "schedule", "p_lower", "radius", "outcome", "implied"} <= set(alone["checked"])
    assert "input" not in alone["checked"]
    assert verdict(client, certificate, digit)["checked"] == [*alone["checked"], "input"]


def test_the_certificate_may_be_a_text_field(client: TestClient, certificate: Certificate) -> None:
    files = {"certificate": (None, certificate.model_dump_json())}
    assert client.post("/verify", files=files).json()["holds"]


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("radius", {"radius": 1.9}),
        ("alpha", {"alpha": 0.5}),
        ("p_lower", {"p_lower": 0.999}),
        ("implied.l1", {"implied": {"l1": 9.0, "linf": 0.1, "linf_levels": 1, "pixels": 0}}),
        ("counts.0", {"counts": ["a"]}),
        ("version", {"version": 1.5}),
    ],
)
def test_what_is_wrong_is_named(
    client: TestClient, certificate: Certificate, field: str, changes: dict[str, Any]
) -> None:
    refused = verdict(client, certificate, **changes)
    assert not refused["holds"]
    assert refused["refused"]["field"] == field
    assert refused["refused"]["reason"]


def test_another_image_is_refused(client: TestClient, certificate: Certificate, digit: bytes) -> None:
    other = certificate.model_copy(update={"input": certificate_for({}).input})
    assert verdict(client, other, digit)["refused"]["field"] == "input"


@pytest.mark.parametrize("text", ["", "[]", "no json", '{"a": 1, "a": 2}'])
def test_what_is_no_certificate_is_refused(client: TestClient, text: str) -> None:
    answer = client.post("/verify", files={"certificate": ("cert.json", text)}).json()
    assert not answer["holds"]
    assert answer["checked"] == []


@pytest.mark.parametrize(
    ("files", "field"),
    [
        ({"image": ("a.png", b"")}, "certificate"),
        ({"certificate": ("c.json", "{}"), "model": (None, "m")}, "model"),
        ([("certificate", ("c.json", "{}")), ("certificate", ("d.json", "{}"))], "certificate"),
        ([("certificate", ("c.json", "{}")), ("image", ("a", b"1")), ("image", ("b", b"2"))], "image"),
    ],
)
def test_a_form_with_other_parts_is_422(client: TestClient, files: Any, field: str) -> None:
    answer = client.post("/verify", files=files)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_a_file_that_is_no_image_is_refused(client: TestClient, certificate: Certificate) -> None:
    files = {"certificate": ("c.json", certificate.model_dump_json()), "image": ("a.png", b"no image")}
    assert client.post("/verify", files=files).status_code == 415
