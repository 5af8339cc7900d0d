"""API keys of the service. Files hold only digests (docs/decisions/0007-callers.md).

A key is `smoothcert_ID_SECRET`: the id finds its record, the secret has 256 random bits. SHA-256 is enough to
store it: slow hashes protect passwords that people choose, not random keys.
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
NO_DIGEST = "0" * 64  # compared with the secret's digest if the id is unknown
NAME = r"[a-z0-9][a-z0-9._-]{0,62}"


class ApiKey(BaseModel):
    """One stored key. owner: the caller whose jobs it may see; a caller may have several keys."""

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
        """Read a file; a missing file holds no keys. Raises BadKeyFile."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return cls()
        except (OSError, ValidationError) as error:
            raise BadKeyFile(f"{path} is no file of API keys: {type(error).__name__}.") from error

    def write(self, path: Path) -> None:
        """Replace the file atomically. Raises OSError."""
        write_whole(path, self.model_dump_json(indent=2, exclude_none=True).encode() + b"\n")

    def find(self, presented: str) -> ApiKey | None:
        """The record of this key, or None. The comparison takes constant time."""
        key_id, secret = split(presented)
        found = next((key for key in self.keys if key.id == key_id), None)
        same = hmac.compare_digest(digest(secret), found.sha256 if found else NO_DIGEST)
        return found if same else None

    def having(self, key: ApiKey) -> "Keyring":
        """A copy with this key added."""
        return Keyring(keys=(*self.keys, key))

    def without(self, key_id: str) -> "Keyring":
        """A copy without this key."""
        return Keyring(keys=tuple(key for key in self.keys if key.id != key_id))


@dataclass(frozen=True)
class NewKey:
    """A new key in plain text, and the record to store."""

    text: str
    record: ApiKey


def draw(owner: str, open_jobs: int | None = None, per_minute: int | None = None) -> NewKey:
    """Make a key for an owner. Raises ValidationError for an invalid owner name."""
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
    """Id and secret of a key; both empty if the string is not a key."""
    found = re.fullmatch(rf"{PREFIX}_([0-9a-f]{{8}})_([A-Za-z0-9_-]{{43}})", presented)
    return (found[1], found[2]) if found else ("", "")


def digest(secret: str) -> str:
    """The stored digest of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()
