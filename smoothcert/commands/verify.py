"""smoothcert verify: does a certificate hold?"""

from pathlib import Path
from typing import Annotated

import typer

from certification.errors import Failure
from smoothcert.output import show


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
) -> None:
    """Check whether a certificate holds.

    Its figures are recomputed from its counts, and compared with the image, model and votes as far as asked.
    Exits with 1 where it doesn't hold, naming the field that is wrong.
    """
    from certification import verify as verification
    from smoothcert.verifying import check_evidence, read_certificate

    claimed = read_certificate(certificate)
    checks = list(verification.verify(claimed).checks)
    if all(check.holds for check in checks):
        checks += check_evidence(claimed, model, image, replay)
    report = verification.Report(tuple(checks))
    if wrong := report.first_wrong:
        raise Failure(f"{certificate} is refused: {wrong.field}: {wrong.reason}.")
    beyond = [what for what, given in (("the model and the image", image), ("every vote", replay)) if given]
    show(f"{certificate} holds: checked {', '.join(dict.fromkeys(check.field for check in checks))}")
    show(
        f"compared with {' and '.join(beyond)}" if beyond else "not compared with an image; --image does that"
    )
