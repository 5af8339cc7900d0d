"""smoothcert verify: does a certificate hold?"""

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoothcert.cli.output import show
from smoothcert.errors import InternalError

if TYPE_CHECKING:
    from smoothcert.schemas.signature import Signature


def verify(
    certificate: Annotated[
        Path, typer.Argument(metavar="CERT.json", help="As certify --out or a service wrote it.")
    ],
    *,
    image: Annotated[Path | None, typer.Option(help="The image it is about, to compare the pixels.")] = None,
    replay: Annotated[bool, typer.Option("--replay", help="Redraw every vote from the seed.")] = False,
    model: Annotated[
        str | None, typer.Option(help="The model as a name or folder; else the one the certificate names.")
    ] = None,
    public_key: Annotated[
        Path | None,
        typer.Option(metavar="KEYS.json", help="Whose signature is wanted, as a JSON web key set."),
    ] = None,
    url: Annotated[str | None, typer.Option(help="Take the keys of this service instead.")] = None,
) -> None:
    """Check whether a certificate holds.

    Its figures are recomputed from its counts, and compared with the image, model and votes as far as asked.
    Exits with 1 where it doesn't hold, naming the field that is wrong.
    """
    from smoothcert.cli.signatures import check_signature, trusted_keys
    from smoothcert.cli.verifying import check_evidence, read_certificate, senders_word
    from smoothcert.stats.verify import verify as recompute

    received = read_certificate(certificate)
    claimed = received.certificate
    keys = trusted_keys(public_key, url) if public_key or url else None
    signed = [check_signature(received.document, keys)] if keys else []
    checked = []
    for check in chain(recompute(claimed).checks, check_evidence(claimed, model, image, replay), signed):
        if not check.holds:
            raise InternalError(f"{certificate} is refused: {check.field}: {check.reason}.")
        checked.append(check.field)
    redrawn = ", every vote redrawn" if replay else ""
    show(f"{certificate} holds: checked {', '.join(dict.fromkeys(checked))}{redrawn}")
    if "model" not in checked:
        show("not compared with a model; --model does that")
    if image is None:
        show("not compared with an image; --image does that")
    if keys is None:
        _say_who_says_so(claimed.signature, senders_word(received, checked))


def _say_who_says_so(signature: "Signature | None", words: list[str]) -> None:
    """What nothing has confirmed, and that nobody's signature was checked."""
    if signature:
        show(f"signed by {signature.key_id}, which was not checked; --public-key or --url does that")
    who = "an unchecked signature's" if signature else "unsigned, so only its sender's"
    show(f"{who} word: {', '.join(words)}")
