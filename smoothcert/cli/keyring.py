"""The file of API keys, as `smoothcert keys` changes it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from smoothcert.cli.settings import settings
from smoothcert.errors import InvalidRequest
from smoothcert.files import is_stream
from smoothcert.schemas.api_keys import Keyring, draw


def keys_path(given: Path | None) -> Path:
    """The file named, else the configured one. Raises InvalidRequest."""
    path = given or settings().api_keys
    if path is None:
        raise InvalidRequest("Which file? Name it with --file, or in SMOOTHCERT_API_KEYS as for the service.")
    return path


def add_key(path: Path, owner: str, open_jobs: int | None, per_minute: int | None) -> str:
    """A new key in the clear. Raises InvalidRequest, BadKeyFile."""
    try:
        new = draw(owner, open_jobs, per_minute)
    except ValidationError as error:
        raise InvalidRequest(
            f"{owner!r} is no owner's name: small letters, digits and '._-', at most 63 of them."
        ) from error
    with _locked(path):
        Keyring.read(path).having(new.record).write(path)
    return new.text


def remove_key(path: Path, key_id: str) -> None:
    """Raises InvalidRequest for a key that isn't there, BadKeyFile."""
    with _locked(path):
        ring = Keyring.read(path)
        if ring == (left := ring.without(key_id)):
            raise InvalidRequest(f"There is no key {key_id!r} in {path}; `smoothcert keys list` lists them.")
        left.write(path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One change at a time: a revocation must not be undone by who read the file before it."""
    if is_stream(path):
        raise InvalidRequest(f"{path} is no file that could keep keys; name another with --file.")
    target = Path(os.path.realpath(path))  # one lock, whatever links lead there
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
