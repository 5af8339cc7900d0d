"""API keys: who may call the service. Files hold digests only (docs/decisions/0007-callers.md).

A key reads `smoothcert_ID_SECRET`: the id finds its record, the secret has 256 random bits. One SHA-256 of it
is enough at rest, as nobody can try 2**256 secrets; a slow hash is for what people choose themselves.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from smoothcert.errors import BadKeyFile
from smoothcert.files import write_whole

PREFIX = "smoothcert"
SECRET_BYTES = 32
NOBODY = "0" * 64  # what a secret is compared with where the id is unknown
NAME = r"[a-z0-9][a-z0-9._-]{0,62}"


class ApiKey(BaseModel):
    """One key at rest. `owner`: the caller whose jobs it sees; several keys may be one caller's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    owner: Annotated[str, Field(pattern=f"^{NAME}$")]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    created_at: datetime
    open_jobs: int | None = Field(default=None, ge=1, description="unfinished jobs at once, else the default")
    per_minute: int | None = Field(default=None, ge=1, description="submissions a minute, else the default")


class Keyring(BaseModel):
    """All keys of one service."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[ApiKey, ...] = ()

    @classmethod
    def read(cls, path: Path) -> "Keyring":
        """Raises BadKeyFile. A file that isn't there yet holds no key."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return cls()
        except (OSError, ValidationError) as error:
            raise BadKeyFile(f"{path} is no file of API keys: {type(error).__name__}.") from error

    def write(self, path: Path) -> None:
        """Replaces the file in one step. Raises OSError."""
        write_whole(path, self.model_dump_json(indent=2, exclude_none=True).encode() + b"\n")

    def find(self, presented: str) -> ApiKey | None:
        """The record of a key that a caller sent, compared in constant time; None for any other string."""
        key_id, secret = split(presented)
        found = next((key for key in self.keys if key.id == key_id), None)
        same = hmac.compare_digest(digest(secret), found.sha256 if found else NOBODY)
        return found if same else None

    def having(self, key: ApiKey) -> "Keyring":
        """With one key more."""
        return Keyring(keys=(*self.keys, key))

    def without(self, key_id: str) -> "Keyring":
        """With one key less."""
        return Keyring(keys=tuple(key for key in self.keys if key.id != key_id))


@dataclass(frozen=True)
class NewKey:
    """A key in the clear, the only time it is, with what is kept of it."""

    text: str
    record: ApiKey


def draw(owner: str, open_jobs: int | None = None, per_minute: int | None = None) -> NewKey:
    """A new key of a caller. Raises ValidationError for an owner's name that isn't one."""
    key_id, secret = secrets.token_hex(4), secrets.token_urlsafe(SECRET_BYTES)
    record = ApiKey(
        id=key_id,
        owner=owner,
        sha256=digest(secret),
        created_at=datetime.now(UTC),
        open_jobs=open_jobs,
        per_minute=per_minute,
    )
    return NewKey(f"{PREFIX}_{key_id}_{secret}", record)


def split(presented: str) -> tuple[str, str]:
    """Id and secret of a key; both empty where the string isn't one."""
    found = re.fullmatch(rf"{PREFIX}_([0-9a-f]{{8}})_([A-Za-z0-9_-]{{43}})", presented)
    return (found[1], found[2]) if found else ("", "")


def digest(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()
