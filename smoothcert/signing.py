"""Sign certificates with Ed25519 and check signatures (docs/decisions/0008-signatures.md).

The signature is over the document without its `signature` field, as canonical JSON (RFC 8785). A check needs
the document as received, not as this version would serialise it.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BaseModel

from smoothcert.errors import BadKeyFile
from smoothcert.schemas.certificate import PublicKey, PublicKeys, Signature
from smoothcert.schemas.json_text import Document

Signed = TypeVar("Signed", bound=BaseModel)
HINT = "Make one with `smoothcert keys signing`, readable by the worker, or unset SMOOTHCERT_SIGNING_KEY."


def canonical(document: Document) -> bytes:
    """The bytes to sign. Raises ValueError for values outside I-JSON, such as integers beyond 2**53."""
    return rfc8785.dumps({name: value for name, value in document.items() if name != "signature"})


@dataclass(frozen=True)
class Signer:
    """Signs with one private key."""

    key: Ed25519PrivateKey

    @classmethod
    def draw(cls) -> "Signer":
        """A signer with a new random key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def read(cls, path: Path) -> "Signer":
        """A signer with the key of an unencrypted PEM file. Raises BadKeyFile."""
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), None)
        except OSError as error:
            raise BadKeyFile(f"The signing key {path} can't be read: {error.strerror}. {HINT}") from error
        except TypeError as error:
            raise BadKeyFile(f"The signing key {path} is encrypted, which is not taken. {HINT}") from error
        except ValueError as error:
            raise BadKeyFile(f"{path} holds no private key in PEM form. {HINT}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise BadKeyFile(f"{path} holds another kind of key than Ed25519. {HINT}")
        return cls(key)

    def pem(self) -> bytes:
        """The private key as PEM."""
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        return self.key.private_bytes(encoding, form, serialization.NoEncryption())

    @property
    def public(self) -> PublicKey:
        x = _encode(self.key.public_key().public_bytes_raw())
        members = json.dumps({"crv": "Ed25519", "kty": "OKP", "x": x}, separators=(",", ":"))
        return PublicKey(kid=_encode(hashlib.sha256(members.encode()).digest()), x=x)

    def sign(self, document: Signed) -> Signed:
        """A copy of a certificate or statement with this signature."""
        value = _encode(self.key.sign(canonical(document.model_dump(mode="json"))))
        signature = Signature(key_id=self.public.kid, value=value)
        return document.model_copy(update={"signature": signature})


def signature_problem(document: Document, keys: PublicKeys) -> str | None:
    """Why the document's signature is not valid under any of these keys; None if it is valid."""
    if document.get("signature") is None:
        return "there is none"
    signature = Signature.model_validate(document["signature"])
    key = next((key for key in keys.keys if key.kid == signature.key_id), None)
    if key is None:
        return f"key {signature.key_id} is none of those trusted here"
    try:
        public = Ed25519PublicKey.from_public_bytes(_decode(key.x))
        public.verify(_decode(signature.value), canonical(document))
    except InvalidSignature:
        return f"the document is not what {signature.key_id} signed: it was changed afterwards, or forged"
    except ValueError as error:
        return f"can't be checked: {error}"
    return None


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    """Decode base64url without padding. Raises ValueError."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
