"""smoothcert timestamp: time stamps (RFC 3161) for certificates and statements; and the checks of them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoothcert.cli.options import failures, parse_json, read_document
from smoothcert.cli.output import check_out, note, show
from smoothcert.errors import BadTimestamp, InternalError, InvalidRequest
from smoothcert.files import is_stream, read_up_to, write_whole

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from smoothcert.stats.verify import Check
    from smoothcert.timestamps import Authority

MAX_TOKEN = 200_000  # bytes
MAX_ROOTS = 10_000_000
TimestampUrl = Annotated[
    str | None, typer.Option(metavar="URL", help="Ask this time-stamp authority (RFC 3161) for a stamp.")
]
TimestampCa = Annotated[
    Path | None,
    typer.Option("--timestamp-ca", metavar="ROOTS.pem", help="The roots of the authorities you trust."),
]


def timestamp(
    documents: Annotated[
        list[Path],
        typer.Argument(metavar="DOC.json...", help="Certificates or statements, as they were written."),
    ],
    *,
    timestamp_url: Annotated[
        str,
        typer.Option(
            "--url", "--timestamp-url", metavar="URL", help="The time-stamp authority (RFC 3161) to ask."
        ),
    ],
    timestamp_ca: TimestampCa = None,
) -> None:
    """Have certificates and statements stamped with the time by an authority (RFC 3161).

    The stamp of DOC.json is kept in DOC.json.tsr. It proves that the document existed, byte for byte, at that
    time; `verify --timestamp` checks it. What is stamped already is left as it is.
    """
    authority = AuthorityOptions.of(timestamp_url, timestamp_ca)
    unstamped = failures(documents, lambda path: _stamp(path, authority))
    if unstamped:
        raise InternalError(f"{len(unstamped)} of {len(documents)} documents have no time stamp.")


@dataclass(frozen=True)
class AuthorityOptions:
    """The authority to ask. roots: to check its stamps against at once, or empty."""

    authority: Authority
    roots: tuple[Certificate, ...]

    @classmethod
    def of(cls, url: str, roots: Path | None) -> AuthorityOptions:
        """Raises InvalidRequest: no such address, or no roots in the file."""
        from smoothcert.timestamps import Authority

        return cls(Authority(url), read_roots(roots) if roots else ())


def token_path(document: Path) -> Path:
    """Where the stamp of a document is kept: DOC.json.tsr."""
    return document.with_name(f"{document.name}.tsr")


def authority_for(out: Path | None, url: str | None, roots: Path | None) -> AuthorityOptions | None:
    """The authority that shall stamp an output file, or None. Raises InvalidRequest, before the work."""
    if url is None:
        if roots:
            raise InvalidRequest("--timestamp-ca needs --timestamp-url.")
        return None
    if out is None or is_stream(out):
        raise InvalidRequest("--timestamp-url needs --out: a file, whose bytes are stamped.")
    check_out(token_path(out))
    return AuthorityOptions.of(url, roots)


def add_stamp(document: Path, authority: AuthorityOptions) -> None:
    """Ask for a stamp over a file, and keep it. Raises InternalError: how to get one later."""
    from smoothcert.timestamps import check_timestamp, describe

    data, kept = _content(document), token_path(document)
    try:
        token = authority.authority.stamp(data)
        checked = check_timestamp(data, token, authority.roots) if authority.roots else None
        write_whole(kept, token)
    except (BadTimestamp, OSError) as error:
        reason = error.reason if isinstance(error, BadTimestamp) else f"{kept}: {error.strerror}"
        raise InternalError(
            f"{document} is kept, without a time stamp: {reason}. To add one: smoothcert timestamp "
            f"{shlex.quote(str(document))} --timestamp-url {authority.authority}"
        ) from error
    unchecked = "" if checked else "; not checked against a root, which verify --timestamp does"
    note(f"{kept}: {checked or describe(token)}{unchecked}")


def _stamp(document: Path, authority: AuthorityOptions) -> None:
    if not _has_stamp(document):
        add_stamp(document, authority)


def _has_stamp(document: Path) -> bool:
    from smoothcert.timestamps import describe, is_over

    data, kept = read_document(document), token_path(document)
    parse_json(document, data)
    check_out(kept)
    if not kept.exists():
        return False
    token = read_up_to(kept, MAX_TOKEN)
    if not is_over(data, token):
        note(f"{kept} is not about {document} as it is now, and is replaced")
        return False
    show(f"{document} has a stamp already, {kept}: {describe(token)}")
    return True


def _content(document: Path) -> bytes:
    from smoothcert.schemas.json_text import MAX_BYTES

    return read_up_to(document, MAX_BYTES)


def read_roots(path: Path) -> tuple[Certificate, ...]:
    """The certificates of a file. Raises InvalidRequest."""
    from smoothcert.timestamps import parse_roots

    content = read_up_to(path, MAX_ROOTS)
    try:
        return tuple(parse_roots(content))
    except ValueError as error:
        raise InvalidRequest(f"{path} holds no certificate that can be read, as PEM or DER.") from error


@dataclass(frozen=True)
class StampOptions:
    """How to check stamps. token: a file, or None for the one beside each document."""

    token: Path | None
    roots: tuple[Certificate, ...]
    policy: str | None

    @classmethod
    def of(cls, token: str | None, roots: Path | None, policy: str | None) -> StampOptions | None:
        """From the options of a command; None if no check is wanted. Raises InvalidRequest."""
        if token is None:
            if roots or policy:
                raise InvalidRequest("--timestamp-ca and --timestamp-policy need --timestamp.")
            return None
        if roots is None:
            raise InvalidRequest(
                "--timestamp needs --timestamp-ca ROOTS.pem: the certificates of the authorities you trust."
            )
        return cls(Path(token) if token else None, read_roots(roots), policy)


@dataclass(frozen=True)
class StampCheck:
    """The outcome for one document. proved: in words, if the check holds."""

    check: Check
    proved: str


def check_stamp(document: Path, data: bytes, options: StampOptions) -> StampCheck:
    """Whether the stamp of a document holds. Raises InvalidRequest: the token can't be read."""
    from smoothcert.stats.verify import Check
    from smoothcert.timestamps import check_timestamp

    token = options.token or token_path(document)
    if options.token is None and not token.exists():
        return StampCheck(Check("timestamp", False, f"there is none ({token})"), "")
    try:
        proved = check_timestamp(data, read_up_to(token, MAX_TOKEN), options.roots, options.policy)
    except BadTimestamp as error:
        return StampCheck(Check("timestamp", False, error.reason), "")
    return StampCheck(Check("timestamp", True, ""), f"existed at {proved}")
