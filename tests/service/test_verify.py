"""POST /verify: the verdict on certificates, with and without their image; and the keys of signatures."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from smoothcert.images.decode import read_image
from smoothcert.schemas.certificate import Certificate, PublicKeys
from smoothcert.schemas.statement import Statement
from smoothcert.signing import Signer, signature_problem
from tests.service.shelf import STATEMENT, write_model
from tests.service.worker import StandInWorker, progress
from tests.service.worker import certificate as certificate_of_task
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


@pytest.mark.parametrize(
    ("field", "card"),
    [
        (None, {"sigma": 0.5, "labels": ["zero", "one", "two"]}),
        ("sigma", {"sigma": 0.25, "labels": ["zero", "one", "two"]}),
        ("label", {"sigma": 0.5, "labels": ["a", "b", "c"]}),
    ],
)
def test_a_certificate_of_a_model_served_here_has_its_sigma_and_labels(
    client: TestClient, certificate: Certificate, models: Path, field: str | None, card: dict[str, Any]
) -> None:
    write_model(models, certificate.model.name, **card)
    answer = verdict(client, certificate)
    assert answer["holds"] == (field is None)
    assert (answer["refused"] or {"field": None})["field"] == field
    if field is None:
        assert answer["checked"][-2:] == ["sigma", "label"]


def test_a_model_of_that_name_with_other_weights_is_another_one(
    client: TestClient, certificate: Certificate, models: Path, digit: bytes
) -> None:
    write_model(models, certificate.model.name, 0.25, input_shape=(3, 32, 32))
    other = certificate.model.model_copy(update={"sha256": "1" * 64})
    answer = verdict(client, certificate.model_copy(update={"model": other}), digit)
    assert answer["holds"]
    assert "sigma" not in answer["checked"]


@pytest.mark.parametrize(
    ("field", "card"), [(None, {}), ("sigma", {"sigma": 0.25}), ("classes", {"labels": list("abcdefghij")})]
)
def test_a_statement_of_a_model_served_here_has_its_sigma_and_classes(
    client: TestClient, models: Path, field: str | None, card: dict[str, Any]
) -> None:
    statement = json.loads(STATEMENT.read_bytes())
    statement["model"] |= {"sha256": "0" * 64, "classifier_sha256": None}
    write_model(models, "stated", **card)
    for name, refused in (("stated", field), ("elsewhere", None)):
        statement["model"]["name"] = name
        files = {"certificate": ("statement.json", json.dumps(statement))}
        answer = client.post("/verify", files=files).json()
        assert (answer["refused"] or {"field": None})["field"] == refused
        assert ("sigma" in answer["checked"]) == (name == "stated" and field != "sigma")


def test_a_statement_is_about_no_single_image(client: TestClient, digit: bytes) -> None:
    files = {"certificate": ("statement.json", STATEMENT.read_bytes()), "image": ("digit.png", digit)}
    answer = client.post("/verify", files=files)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["image"]


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


@pytest.mark.parametrize(("asked_before", "risk"), [(None, None), (0, 0.001), (3, 0.004), (10**6, 1.0)])
def test_the_probability_counts_every_answer_so_far(
    client: TestClient, certificate: Certificate, asked_before: int | None, risk: float | None
) -> None:
    assert verdict(client, certificate, asked_before=asked_before)["error_probability"] == risk


@pytest.fixture
def signer() -> Signer:
    return Signer.draw()


@pytest.fixture
def keyed(settings: Settings, signer: Signer, tmp_path: Path) -> Iterator[TestClient]:
    """A service that has the signer's public key, and an older one."""
    path = tmp_path / "keys.json"
    path.write_text(PublicKeys(keys=(signer.public, Signer.draw().public)).model_dump_json())
    with TestClient(create_app(settings.model_copy(update={"signing_keys": path}))) as client:
        yield client


def test_a_signature_by_a_key_of_the_service_is_checked(
    keyed: TestClient, signer: Signer, certificate: Certificate, digit: bytes
) -> None:
    signed = signer.sign(certificate)
    answer = verdict(keyed, signed, digit)
    assert answer["holds"]
    assert answer["checked"][-1] == "signature"
    assert (answer["signed_by"], answer["signature_unchecked"]) == (signer.public.kid, None)
    for changes in ({"issued_at": "2020-01-01T00:00:00Z"}, {"asked_before": 0}, {"later": 1}):
        refused = verdict(keyed, signed, **changes)
        assert (refused["holds"], refused["refused"]["field"]) == (False, "signature")
        assert (refused["signed_by"], refused["error_probability"]) == (None, None)


def test_a_document_that_this_service_did_not_sign_may_hold_and_the_answer_says_so(
    keyed: TestClient, client: TestClient, signer: Signer, certificate: Certificate
) -> None:
    stranger = Signer.draw()
    for service, document, why in (
        (keyed, certificate, "the document has no signature"),
        (keyed, stranger.sign(certificate), f"key {stranger.public.kid} is none of this service's"),
        (client, signer.sign(certificate), "this service has no public keys"),
    ):
        answer = verdict(service, document)
        assert (answer["holds"], answer["signed_by"], answer["signature_unchecked"]) == (True, None, why)
        assert "signature" not in answer["checked"]


def test_the_signature_of_a_statement_is_checked(keyed: TestClient, signer: Signer) -> None:
    statement = Statement.model_validate_json(STATEMENT.read_bytes())
    document = signer.sign(statement.model_copy(update={"signature": None}))
    files = {"certificate": ("statement.json", document.model_dump_json())}
    answer = keyed.post("/verify", files=files).json()
    assert (answer["holds"], answer["signed_by"]) == (True, signer.public.kid)
    redated = document.model_copy(update={"issued_at": document.issued_at.replace(year=2020)})
    files = {"certificate": ("statement.json", redated.model_dump_json())}
    assert keyed.post("/verify", files=files).json()["refused"]["field"] == "signature"


def test_what_the_service_serves_is_what_the_worker_signed(
    settings: Settings, worker: StandInWorker, digit: bytes, tmp_path: Path
) -> None:
    signer, file = Signer.draw(), tmp_path / "signing-keys.json"
    file.write_text(PublicKeys(keys=(signer.public,)).model_dump_json())
    with TestClient(create_app(settings.model_copy(update={"signing_keys": file}))) as client:
        job = client.post("/certify", files={"image": digit}, data={"n": 1000}).json()
        task = worker.begin(job["id"])
        worker.votes.finish(task, signer.sign(certificate_of_task(task, 1000, 1 / 3)), progress(1000, 1 / 3))
        keys = PublicKeys.model_validate_json(client.get("/keys/signing").content)
        assert signature_problem(client.get(job["links"]["certificate"]).json(), keys) is None
        assert signature_problem(client.get(job["links"]["self"]).json()["certificate"], keys) is None


def test_without_a_key_there_is_none_to_serve(client: TestClient) -> None:
    assert client.get("/keys/signing").json() == {"keys": []}
