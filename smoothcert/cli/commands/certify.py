"""smoothcert certify: images to their certificates."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from smoothcert.cli.asking import N0, Alpha, EngineConfig, N, Procedure, TargetRadius, Tolerance, given
from smoothcert.cli.output import check_out, show, write_file
from smoothcert.cli.progress import progress_bar

if TYPE_CHECKING:
    from smoothcert.cli.certifying import Certified, Certifier, Stream

Format = Literal["text", "tsv", "json"]


def certify(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Files, folders or patterns.")],
    *,
    model: Annotated[str | None, typer.Option(help="A bundled name or a checkpoint folder.")] = None,
    n: N = None,
    n0: N0 = None,
    alpha: Alpha = None,
    procedure: Procedure = None,
    target_radius: TargetRadius = None,
    tolerance: Tolerance = None,
    url: Annotated[str | None, typer.Option(help="Ask this service instead of certifying here.")] = None,
    setup: EngineConfig = None,
    as_json: Annotated[bool, typer.Option("--json", help="Short for --format json.")] = False,
    format_name: Annotated[Format, typer.Option("--format", help="Of what is printed.")] = "text",
    out: Annotated[
        Path | None, typer.Option(metavar="CERT.json", help="Keep what --json prints in a file.")
    ] = None,
) -> None:
    """Certify an image, or several.

    The answer is the smoothed classifier's class with a radius within which no change of the image changes
    it, or an abstention. PNG, JPEG, WebP, BMP and GIF are taken.
    """
    from smoothcert.cli.images import expand, is_one_file

    check_out(out)
    options = given(
        n=n, n0=n0, alpha=alpha, procedure=procedure, target_radius=target_radius, tolerance=tolerance
    )
    paths = expand(images)
    with _certifier(model, options, setup, url) as certifier:
        if is_one_file(images):
            certified = [(paths[0], _watch(certifier.one(paths[0])))]
        else:
            certified = _watch_all(certifier.all(paths), len(paths))
    _tell(certified, "json" if as_json else format_name, out, alone=is_one_file(images))


@contextmanager
def _certifier(
    model: str | None, options: dict[str, Any], setup: str | None, url: str | None
) -> Iterator["Certifier"]:
    from smoothcert.cli.certifying import Here, There
    from smoothcert.cli.client import ServiceClient
    from smoothcert.cli.settings import settings

    if url is None:
        yield Here(model, options, setup)
        return
    with ServiceClient(url, settings().bearer) as client:
        yield There(client, options | given(model=model))


def _watch(stream: "Stream") -> Any:
    from smoothcert.cli.wording import so_far
    from smoothcert.schemas.certificate import Certificate

    with progress_bar("votes") as update:
        for sign in stream:
            if isinstance(sign, Certificate):
                return sign
            update(sign.samples, sign.of, so_far(sign))
    raise AssertionError("the stream ends in a certificate")


def _watch_all(certified: "Iterator[Certified]", of: int) -> "list[Certified]":
    done: list[Certified] = []
    with progress_bar("images") as update:
        for path, certificate in certified:
            done.append((path, certificate))
            update(len(done), of, path.name)
    return done


def _tell(certified: "list[Certified]", format_name: Format, out: Path | None, *, alone: bool) -> None:
    from smoothcert.cli.wording import as_document, as_table, as_tsv, describe, to_json

    document = as_document(certified[0][1]) if alone else to_json(certified)
    try:
        if out is not None:
            write_file(out, document + "\n", "--out")
    finally:  # votes that were drawn are told, wherever they could not be kept
        if format_name == "json":
            show(document)
        elif format_name == "tsv":
            show(as_tsv(certified))
        else:
            show(describe(certified[0][1]) if alone else as_table(certified))
