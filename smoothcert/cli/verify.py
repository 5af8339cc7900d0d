"""smoothcert verify: check certificates and statements."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoothcert.cli.checks import check_against, check_signature, check_statement, trusted_keys
from smoothcert.cli.options import failures, parse_json, read_document
from smoothcert.cli.output import show
from smoothcert.cli.timestamp import StampOptions, TimestampCa, check_stamp, token_path
from smoothcert.errors import InternalError, InvalidRequest, NotACertificate

if TYPE_CHECKING:
    from pydantic import BaseModel

    from smoothcert.cli.timestamp import StampCheck
    from smoothcert.schemas.certificate import Certificate, PublicKeys, Signature
    from smoothcert.schemas.json_text import Document
    from smoothcert.schemas.statement import Statement
    from smoothcert.stats.verify import Check


def verify(
    documents: Annotated[
        list[Path],
        typer.Argument(metavar="DOC.json...", help="Certificates or statements, as they were written."),
    ],
    *,
    image: Annotated[Path | None, typer.Option(help="The image it is about, to compare the pixels.")] = None,
    log: Annotated[
        Path | None, typer.Option(metavar="LOG", help="The log a statement is about, to recompute it.")
    ] = None,
    replay: Annotated[
        str | None,
        typer.Option(
            metavar="[=K]", help="Redraw every vote from the seed; of a statement, K random rows (10)."
        ),
    ] = None,
    data_root: Annotated[
        Path, typer.Option(help="Where torchvision's files lie, for --log --replay.")
    ] = Path("data"),
    model: Annotated[
        str | None, typer.Option(help="The model as a name or folder; else the one the document names.")
    ] = None,
    public_key: Annotated[
        Path | None,
        typer.Option(metavar="KEYS.json", help="Whose signature is wanted, as a JSON web key set."),
    ] = None,
    url: Annotated[str | None, typer.Option(help="Take the keys of this service instead.")] = None,
    timestamp: Annotated[
        str | None,
        typer.Option(metavar="[=TOKEN]", help="Check the time stamp (RFC 3161); else DOC.json.tsr."),
    ] = None,
    timestamp_ca: TimestampCa = None,
    timestamp_policy: Annotated[
        str | None, typer.Option(metavar="OID", help="The policy that the stamp must be made under.")
    ] = None,
) -> None:
    """Check whether certificates and statements hold.

    Their figures are recomputed from their counts. Image, log, model, votes, signature and time stamp are
    compared if given. Exits with 1 if one does not hold, naming the wrong field.
    """
    rows = _rows_to_replay(replay)
    keys = trusted_keys(public_key, url) if public_key or url else None
    stamp = StampOptions.of(timestamp, timestamp_ca, timestamp_policy)
    options = CheckOptions(image, log, rows, data_root, model, keys, stamp)
    refused = failures(documents, lambda path: _verify_one(path, options))
    if refused:
        raise InternalError(f"{len(refused)} of {len(documents)} documents are refused.")


ALL = "all"  # what `--replay` without a number stands for; cli.main adds it
DEFAULT_ROWS = 10


def _rows_to_replay(replay: str | None) -> int | None:
    if replay is None or replay == ALL:
        return None if replay is None else DEFAULT_ROWS
    if not replay.isdecimal() or int(replay) < 1:
        raise InvalidRequest(f"--replay={replay}: it takes no value, or how many rows to redraw.")
    return int(replay)


@dataclass(frozen=True)
class CheckOptions:
    """What to compare documents with. replay: rows of a statement, all votes of a certificate."""

    image: Path | None
    log: Path | None
    replay: int | None
    data_root: Path
    model: str | None
    keys: PublicKeys | None
    stamp: StampOptions | None


def _verify_one(path: Path, options: CheckOptions) -> None:
    """Check one document and print the outcome. Raises InternalError if it is refused."""
    from smoothcert.schemas.certificate import Certificate, validated
    from smoothcert.schemas.statement import Statement, is_statement

    data = read_document(path)
    document = parse_json(path, data)
    stamp = check_stamp(path, data, options.stamp) if options.stamp else None
    try:
        if is_statement(document):
            statement = validated(document, Statement)
            if options.image is not None:
                raise InvalidRequest(f"{path} is a statement, about no single image: leave --image out.")
            replayed = check_statement(
                statement, options.log, options.model, options.replay, options.data_root
            )
            checked = _passed(path, replayed, document, options.keys, stamp)
            _print_statement(path, statement, checked, options, unknown_fields(document, Statement))
            _print_stamp(path, stamp)
            return
        certificate = validated(document, Certificate)
    except NotACertificate as error:
        kind = "a statement" if is_statement(document) else "a certificate"
        raise InternalError(f"{path} is not {kind}: {error}.") from error
    if options.log is not None:
        raise InvalidRequest(f"{path} is a certificate, about no log: leave --log out.")
    _verify_certificate(path, certificate, document, options, stamp)
    _print_stamp(path, stamp)


def _passed(
    path: Path,
    checks: Iterable[Check],
    document: Document,
    keys: PublicKeys | None,
    stamp: StampCheck | None,
) -> list[str]:
    """The fields checked, signature and time stamp last. Raises InternalError for one that is wrong."""
    checked = []
    signed = [check_signature(document, keys)] if keys else []
    stamped = [stamp.check] if stamp else []
    for check in chain(checks, signed, stamped):
        if not check.holds:
            raise InternalError(f"{path} is refused: {check.field}: {check.reason}.")
        checked.append(check.field)
    return list(dict.fromkeys(checked))


def _verify_certificate(
    path: Path, claimed: Certificate, document: Document, options: CheckOptions, stamp: StampCheck | None
) -> None:
    from smoothcert.stats.recompute import asked_in_words
    from smoothcert.stats.verify import verify as recompute

    replay = options.replay is not None
    against = check_against(claimed, options.model, options.image, replay)
    checks = chain(recompute(claimed).checks, against)
    checked = _passed(path, checks, document, options.keys, stamp)
    redrawn = ", every vote redrawn" if replay else ""
    show(f"{path} holds: checked {', '.join(checked)}{redrawn}")
    for line in asked_in_words(claimed.asked_before, claimed.alpha):
        show(line)
    if "model" not in checked:
        show("not compared with a model; --model does that")
    if options.image is None:
        show("not compared with an image; --image does that")
    if options.keys is None:
        fields = unverified_fields(claimed, checked) + unknown_fields(document, type(claimed))
        _print_unverified(claimed.signature, fields)


def _print_statement(
    path: Path, statement: Statement, checked: list[str], options: CheckOptions, unknown: list[str]
) -> None:
    fields = list(dict.fromkeys(field.partition(".")[0] for field in checked))
    rows = f", {min(options.replay, statement.images)} rows redrawn" if options.replay else ""
    show(f"{path} holds: checked {', '.join(fields)}{rows}")
    if options.log is None:
        show("not compared with its log; --log does that")
        if "model" not in fields:
            show("not compared with a model; --model does that")
    if options.keys is None:
        absent = {"version", "kind", "signature", *fields}
        rest = [name for name in type(statement).model_fields if name not in absent]
        _print_unverified(statement.signature, rest + unknown)


def _print_stamp(path: Path, stamp: StampCheck | None) -> None:
    if stamp:
        show(stamp.proved)
    elif token_path(path).is_file():
        show(f"not compared with its time stamp, {token_path(path)}; --timestamp does that")


def _print_unverified(signature: Signature | None, fields: list[str]) -> None:
    """Print the fields that no check has confirmed, and that no signature was checked."""
    if signature:
        show(f"signed by {signature.key_id}, which was not checked; --public-key or --url does that")
    who = "an unchecked signature's" if signature else "unsigned, so only its sender's"
    show(f"{who} word: {', '.join(fields)}")


# Fields that do not follow from others: only the model, the image, a replay or a signature confirms them.
PREMISES = (
    "sigma",
    "selection_counts",
    "counts",
    "model",
    "label",
    "input",
    "seed",
    "engine",
    "asked_before",
    "made_by",
    "deadline",
    "ended_by",
    "issued_at",
)


def unknown_fields(document: Document, model: type[BaseModel]) -> list[str]:
    """Names of fields that the model does not have, safe to print."""
    from smoothcert.schemas.json_text import printable

    return [printable(name) for name in document if name not in model.model_fields]


def unverified_fields(certificate: Certificate, checked: Collection[str]) -> list[str]:
    """The fields that no check has confirmed; only a signature can vouch for them."""
    optional = ("label", "asked_before", "made_by", "deadline", "ended_by")
    absent = {name for name in optional if getattr(certificate, name) is None}
    return [name for name in PREMISES if name not in absent.union(checked)]
