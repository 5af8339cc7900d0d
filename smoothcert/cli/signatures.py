"""The keys of signatures: made here, and got from a file or a service to check a certificate."""

from pathlib import Path

from smoothcert.cli.client import ServiceClient
from smoothcert.cli.output import check_out
from smoothcert.cli.settings import settings
from smoothcert.errors import InvalidRequest
from smoothcert.files import write_whole
from smoothcert.schemas.reading import Document
from smoothcert.schemas.signature import PublicKeys
from smoothcert.signing import Signer, what_is_wrong
from smoothcert.stats.verify import Check

PRIVATE, PUBLIC = "signing-key.pem", "signing-keys.json"


def make_keys(folder: Path, *, replace: bool) -> PublicKeys:
    """Writes a new private key, and its public one before those it follows. Raises InvalidRequest."""
    private, public = folder / PRIVATE, folder / PUBLIC
    if private.exists() and not replace:
        raise InvalidRequest(f"{private} exists; --replace makes a new one and keeps the old public key.")
    check_out(folder, folder=True)
    signer = Signer.draw()
    known = PublicKeys.read(public).keys if public.exists() else ()
    keys = PublicKeys(keys=(signer.public, *known))
    write_whole(public, keys.model_dump_json(indent=2).encode() + b"\n")  # first: who signs is known already
    write_whole(private, signer.pem(), mode=0o600)
    return keys


def trusted_keys(public_key: Path | None, url: str | None) -> PublicKeys | None:
    """The keys of a file or of a service; None where neither is named.

    Raises InvalidRequest, InternalError.
    """
    if public_key is not None:
        return PublicKeys.read(public_key)
    if url is not None:
        with ServiceClient(url, settings().bearer) as client:
            return client.signing_keys()
    return None


def check_signature(document: Document, keys: PublicKeys) -> Check:
    """Whether one of these keys signed the document with these very values."""
    wrong = what_is_wrong(document, keys)
    return Check("signature", wrong is None, wrong or "")
