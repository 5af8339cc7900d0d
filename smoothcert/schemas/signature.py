"""Signatures of certificates, and the public keys that check them."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from smoothcert.errors import BadKeyFile

MAX_BYTES = 1_000_000  # of a key set


class Signature(BaseModel):
    """A signature over the certificate without this field, as canonical JSON (RFC 8785). value: base64url."""

    model_config = ConfigDict(frozen=True)

    key_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")]
    algorithm: Literal["Ed25519"] = "Ed25519"
    value: Annotated[str, Field(max_length=200)]


class PublicKey(BaseModel):
    """A JSON web key (RFC 8037). kid: its thumbprint (RFC 7638). x: 32 bytes, base64url."""

    model_config = ConfigDict(frozen=True)

    kty: Literal["OKP"] = "OKP"
    crv: Literal["Ed25519"] = "Ed25519"
    use: Literal["sig"] = "sig"
    kid: str
    x: str


class PublicKeys(BaseModel):
    """A JSON web key set (RFC 7517), newest first. Old keys stay, to check older certificates."""

    model_config = ConfigDict(frozen=True)

    keys: tuple[PublicKey, ...] = ()

    @classmethod
    def read(cls, path: Path) -> "PublicKeys":
        """Raises BadKeyFile."""
        try:
            with path.open("rb") as file:
                return cls.model_validate_json(file.read(MAX_BYTES))
        except (OSError, ValidationError) as error:
            raise BadKeyFile(f"{path} is no file of public keys: {type(error).__name__}.") from error
