"""smoothcert keys: API keys of the service, and the key that signs certificates."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoothcert.cli.output import check_out, show, table
from smoothcert.errors import InvalidRequest
from smoothcert.files import is_stream, write_whole

if TYPE_CHECKING:
    from smoothcert.schemas.certificate import PublicKeys


commands = typer.Typer(help="Make, list and revoke API keys; make the key that signs certificates.")

File = Annotated[
    Path | None, typer.Option(metavar="KEYS.json", help="The file.  [default: SMOOTHCERT_API_KEYS]")
]


@commands.command()
def create(
    owner: Annotated[str, typer.Argument(help="Whose key it is; all keys of one owner see the same jobs.")],
    *,
    open_jobs: Annotated[
        int | None, typer.Option(min=1, help="Unfinished jobs at once, else the service's default.")
    ] = None,
    per_minute: Annotated[
        int | None, typer.Option(min=1, help="Submissions a minute, else the service's default.")
    ] = None,
    file: File = None,
) -> None:
    """Make an API key and print it.

    It is shown this once: the file holds only its digest.
    """

    show(add_key(keys_path(file), owner, open_jobs, per_minute))


@commands.command("list")
def list_keys(*, file: File = None) -> None:
    """List the API keys there are."""
    from smoothcert.schemas.api_keys import Keyring

    path = keys_path(file)
    keys = Keyring.read(path).keys
    if not keys:
        show(f"There are no keys in {path}.")
        return
    rows = [
        [
            key.id,
            key.owner,
            f"{key.created_at:%Y-%m-%d}",
            str(key.open_jobs or "-"),
            str(key.per_minute or "-"),
        ]
        for key in keys
    ]
    show(table(["id", "owner", "made", "open jobs", "per minute"], rows))


@commands.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `smoothcert keys list` names it.")],
    *,
    file: File = None,
) -> None:
    """Take an API key back.

    The service refuses it from its next request on; the owner's jobs stay.
    """

    remove_key(keys_path(file), key_id)
    show(f"{key_id} is revoked.")


@commands.command()
def signing(
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where both files go.")] = Path("keys"),
    replace: Annotated[
        bool, typer.Option("--replace", help="Make a new key beside the old public ones.")
    ] = False,
) -> None:
    """Make the key that signs certificates.

    The worker gets signing-key.pem (SMOOTHCERT_SIGNING_KEY), the service the public signing-keys.json
    (SMOOTHCERT_SIGNING_KEYS).
    """

    keys = make_keys(out, replace=replace)
    show(f"{keys.keys[0].kid}: {out / PRIVATE} signs, {out / PUBLIC} checks")


def keys_path(given: Path | None) -> Path:
    """The given file, else SMOOTHCERT_API_KEYS. Raises InvalidRequest."""
    from smoothcert.cli.settings import settings

    path = given or settings().api_keys
    if path is None:
        raise InvalidRequest("Which file? Name it with --file, or in SMOOTHCERT_API_KEYS as for the service.")
    return path


def add_key(path: Path, owner: str, open_jobs: int | None, per_minute: int | None) -> str:
    """Add a key to the file; returns it in plain text. Raises InvalidRequest, BadKeyFile."""
    from pydantic import ValidationError

    from smoothcert.schemas.api_keys import Keyring, draw

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
    """Remove a key from the file. Raises InvalidRequest: no such key; BadKeyFile."""
    from smoothcert.schemas.api_keys import Keyring

    with _locked(path):
        ring = Keyring.read(path)
        if ring == (left := ring.without(key_id)):
            raise InvalidRequest(f"There is no key {key_id!r} in {path}; `smoothcert keys list` lists them.")
        left.write(path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lock the file during a change, so that concurrent changes don't undo each other."""
    if is_stream(path):
        raise InvalidRequest(f"{path} is no file that could keep keys; name another with --file.")
    target = Path(os.path.realpath(path))  # one lock for all links to the file
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


PRIVATE, PUBLIC = "signing-key.pem", "signing-keys.json"


def make_keys(folder: Path, *, replace: bool) -> PublicKeys:
    """Write a new private key, and add its public key in front of the older ones. Raises InvalidRequest."""
    from smoothcert.schemas.certificate import PublicKeys
    from smoothcert.signing import Signer

    private, public = folder / PRIVATE, folder / PUBLIC
    if private.exists() and not replace:
        raise InvalidRequest(f"{private} exists; --replace makes a new one and keeps the old public key.")
    check_out(folder, folder=True)
    signer = Signer.draw()
    known = PublicKeys.read(public).keys if public.exists() else ()
    keys = PublicKeys(keys=(signer.public, *known))
    write_whole(
        public, keys.model_dump_json(indent=2).encode() + b"\n"
    )  # first, so that every signature can be checked
    write_whole(private, signer.pem(), mode=0o600)
    return keys
