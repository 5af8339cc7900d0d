"""smoothcert certify: one image to its certificate."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoothcert.asking import N0, Alpha, N, Procedure, Setup, TargetRadius, Tolerance, given
from smoothcert.output import show, write_file
from smoothcert.progress import progress_bar

if TYPE_CHECKING:
    from certification.contract.certificate import Certificate
    from certification.contract.job import Progress


def certify(
    image: Annotated[Path, typer.Argument(help="A PNG, JPEG, WebP, BMP or GIF file.")],
    *,
    model: Annotated[str | None, typer.Option(help="A bundled name or a checkpoint folder.")] = None,
    n: N = None,
    n0: N0 = None,
    alpha: Alpha = None,
    procedure: Procedure = None,
    target_radius: TargetRadius = None,
    tolerance: Tolerance = None,
    url: Annotated[str | None, typer.Option(help="Ask this service instead of certifying here.")] = None,
    setup: Setup = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the certificate, as JSON.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="CERT.json", help="Keep the certificate.")] = None,
) -> None:
    """Certify one image.

    The answer is the smoothed classifier's class with a radius within which no change of the image changes
    it, or an abstention.
    """
    from smoothcert.certifying import certify_here, certify_there, read_file
    from smoothcert.settings import settings

    options = given(
        n=n, n0=n0, alpha=alpha, procedure=procedure, target_radius=target_radius, tolerance=tolerance
    )
    data = read_file(image)
    if url is None:
        certificate = _watch(certify_here(data, model, options, setup))
    else:
        fields = options | given(model=model)
        certificate = _watch(certify_there(data, image.name, fields, url, settings().bearer))
    document = certificate.model_dump_json(indent=2)
    if out is not None:
        write_file(out, document + "\n", "--out")
    show(document if as_json else describe(certificate))


def describe(certificate: "Certificate") -> str:
    """The certificate in words; the radius is rounded down."""
    c = certificate
    drawn = f"{c.n} votes at sigma {c.sigma:g}, error probability at most {c.alpha:g}"
    votes = sorted(((count, k) for k, count in enumerate(c.counts) if count), reverse=True)[:3]
    counted = ", ".join(f"class {k}: {count}" for count, k in votes)
    lines = [_answer(c), f"{c.model.name}, {c.procedure}: {drawn} ({counted})"]
    lines += [f"the image was {', '.join(c.input.preprocessing)}"] * bool(c.input.preprocessing)
    if c.target_met is not None:
        lines.append(f"target radius {c.target_radius:g}: {'proved' if c.target_met else 'not proved'}")
    return "\n".join(lines)


def _answer(c: "Certificate") -> str:
    from decimal import ROUND_FLOOR, Decimal

    if c.outcome == "abstained":
        return "abstained: no class is proved at this error probability"
    named = f"class {c.predicted_class}" + (f" ({c.label})" if c.label != str(c.predicted_class) else "")
    if c.procedure == "predict":
        return f"{named}, without a radius"
    radius = Decimal(c.radius).quantize(Decimal("0.0001"), ROUND_FLOOR)
    return f"{named}, certified within l2 radius {radius} (pixels in [0,1])"


def _watch(stream: "Iterator[Progress | Certificate]") -> "Certificate":
    from certification.contract.certificate import Certificate

    with progress_bar("votes") as update:
        for sign in stream:
            if isinstance(sign, Certificate):
                return sign
            update(sign.samples, sign.of, f"radius {sign.radius or 0:.3f} so far")
    raise AssertionError("the stream ends in a certificate")
