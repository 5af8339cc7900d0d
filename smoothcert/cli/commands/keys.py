"""smoothcert keys: who may call the service, and what certificates are signed with."""

from pathlib import Path
from typing import Annotated

import typer

from smoothcert.cli.output import show, table

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
    from smoothcert.cli.keyring import add_key, keys_path

    show(add_key(keys_path(file), owner, open_jobs, per_minute))


@commands.command("list")
def list_keys(*, file: File = None) -> None:
    """List the API keys there are."""
    from smoothcert.cli.keyring import keys_path
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
    from smoothcert.cli.keyring import keys_path, remove_key

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
    from smoothcert.cli.signatures import PRIVATE, PUBLIC, make_keys

    keys = make_keys(out, replace=replace)
    show(f"{keys.keys[0].kid}: {out / PRIVATE} signs, {out / PUBLIC} checks")
