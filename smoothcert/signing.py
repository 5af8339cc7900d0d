"""Signing certificates with Ed25519, and checking who signed (docs/decisions/0008-signatures.md).

What is signed is the document without its `signature`, as canonical JSON: RFC 8785, which other languages
have too. A check needs the document as it was received, not as this version would write it again.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from smoothcert.errors import BadKeyFile
from smoothcert.schemas.certificate import Certificate
from smoothcert.schemas.reading import Document
from smoothcert.schemas.signature import PublicKey, PublicKeys, Signature

MEND = "Make one with `smoothcert keys signing`, readable by the worker, or unset SMOOTHCERT_SIGNING_KEY."


def canonical(document: Document) -> bytes:
    """The bytes that are signed. Raises ValueError for what no certificate holds, as numbers beyond 2**53."""
    return rfc8785.dumps({name: value for name, value in document.items() if name != "signature"})


@dataclass(frozen=True)
class Signer:
    """Signs with one private key."""

    key: Ed25519PrivateKey

    @classmethod
    def draw(cls) -> "Signer":
        """With a new key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def read(cls, path: Path) -> "Signer":
        """From an unencrypted PEM file. Raises BadKeyFile."""
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), None)
        except OSError as error:
            raise BadKeyFile(f"The signing key {path} can't be read: {error.strerror}. {MEND}") from error
        except TypeError as error:
            raise BadKeyFile(f"The signing key {path} is encrypted, which is not taken. {MEND}") from error
        except ValueError as error:
            raise BadKeyFile(f"{path} holds no private key in PEM form. {MEND}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise BadKeyFile(f"{path} holds another kind of key than Ed25519. {MEND}")
        return cls(key)

    def pem(self) -> bytes:
        """The private key, for its file."""
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        return self.key.private_bytes(encoding, form, serialization.NoEncryption())

    @property
    def public(self) -> PublicKey:
        x = _encode(self.key.public_key().public_bytes_raw())
        members = json.dumps({"crv": "Ed25519", "kty": "OKP", "x": x}, separators=(",", ":"))
        return PublicKey(kid=_encode(hashlib.sha256(members.encode()).digest()), x=x)

    def sign(self, certificate: Certificate) -> Certificate:
        """The same certificate with this signature."""
        value = _encode(self.key.sign(canonical(certificate.model_dump(mode="json"))))
        signature = Signature(key_id=self.public.kid, value=value)
        return certificate.model_copy(update={"signature": signature})


def what_is_wrong(document: Document, keys: PublicKeys) -> str | None:
    """Why the signature of a certificate doesn't hold under any of these keys; None when it does."""
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
    """Raises ValueError for anything but base64url."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
