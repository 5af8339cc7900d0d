"""A signature holds for one document and one key; whatever was changed is refused."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from pydantic import TypeAdapter

from service.openapi import CERTIFICATE
from smoothcert.errors import BadKeyFile
from smoothcert.schemas.certificate import Certificate, PublicKey, PublicKeys
from smoothcert.signing import Signer, canonical, signature_problem

PEM, PKCS8 = Encoding.PEM, PrivateFormat.PKCS8
SIGNER, OTHER = Signer.draw(), Signer.draw()
KEYS = PublicKeys(keys=(OTHER.public, SIGNER.public))


def signed() -> dict:
    """As it arrives: written by the worker, read and written again by the service."""
    text = SIGNER.sign(Certificate.model_validate(CERTIFICATE)).model_dump_json()
    return json.loads(Certificate.model_validate_json(text).model_dump_json(indent=2))


def test_a_signed_certificate_holds_however_it_is_laid_out() -> None:
    document = signed()
    assert signature_problem(document, KEYS) is None
    assert signature_problem(dict(reversed(document.items())), KEYS) is None


@pytest.mark.parametrize(
    ("field", "value"), [("radius", 1.2027), ("label", "8"), ("seed", "0" * 32), ("model", {}), ("new", 1)]
)
def test_an_edited_certificate_is_refused(field: str, value: object) -> None:
    assert "changed afterwards" in str(signature_problem(signed() | {field: value}, KEYS))


def test_a_forged_signature_and_an_unknown_key_are_refused() -> None:
    document = signed()
    forged = document | {"signature": document["signature"] | {"key_id": OTHER.public.kid}}
    assert "changed afterwards, or forged" in str(signature_problem(forged, KEYS))
    assert "none of those trusted" in str(signature_problem(document, PublicKeys(keys=(OTHER.public,))))
    assert signature_problem(document | {"signature": None}, KEYS) == "there is none"
    broken = document | {"signature": document["signature"] | {"value": "AAAA"}}
    assert signature_problem(broken, KEYS) is not None


def test_the_canonical_form_is_that_of_rfc_8785() -> None:
    document = {"b": 1e-7, "a": [1.0, 0.1, 1e21], "é": "ß", "signature": {}}
    assert canonical(document) == '{"a":[1,0.1,1e+21],"b":1e-7,"é":"ß"}'.encode()


def test_the_key_id_is_the_thumbprint_of_rfc_8037() -> None:
    """Its appendix A.3."""
    secret = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
    import base64

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(base64.urlsafe_b64decode(secret + "="))
    assert Signer(key).public.x == "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert Signer(key).public.kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "No such file"),
        (b"no key", "holds no private key"),
        (ec.generate_private_key(ec.SECP256R1()), "another kind of key"),
        (SIGNER.key.private_bytes(PEM, PKCS8, BestAvailableEncryption(b"secret")), "encrypted"),
    ],
    ids=["missing", "malformed", "another kind", "encrypted"],
)
def test_a_key_that_cannot_sign_is_named_with_what_to_do(
    tmp_path: Path, content: bytes | ec.EllipticCurvePrivateKey | None, complaint: str
) -> None:
    path = tmp_path / "key.pem"
    if content is not None:
        other = content if isinstance(content, bytes) else content.private_bytes(PEM, PKCS8, NoEncryption())
        path.write_bytes(other)
    with pytest.raises(BadKeyFile, match=complaint) as told:
        Signer.read(path)
    assert str(path) in str(told.value)
    assert "smoothcert keys signing" in str(told.value)


def test_keys_go_through_their_files(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(SIGNER.pem())
    assert Signer.read(path).public == SIGNER.public
    path.write_text("no key")
    for read in (Signer.read, PublicKeys.read):
        with pytest.raises(BadKeyFile):
            read(path)
    assert TypeAdapter(PublicKey).validate_json(SIGNER.public.model_dump_json()) == SIGNER.public


def test_an_invalid_key_checks_nothing_and_is_named_in_the_error() -> None:
    short = SIGNER.public.model_copy(update={"x": "AAAA"})
    assert str(signature_problem(signed(), PublicKeys(keys=(short,)))).startswith("can't be checked: ")
