"""smoothcert certify: certify images, here or by a service."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import typer

from smoothcert.cli.options import (
    N0,
    Alpha,
    Deadline,
    EngineOption,
    N,
    Procedure,
    TargetRadius,
    Tolerance,
    given,
    parameters,
)
from smoothcert.cli.output import check_out, show, write_file
from smoothcert.errors import BadImage, InvalidRequest
from smoothcert.files import shown
from smoothcert.progress import progress_bar

if TYPE_CHECKING:
    from smoothcert.classifier import SmoothedClassifier
    from smoothcert.cli.output import Certified
    from smoothcert.client import Client
    from smoothcert.images.pixels import CertifiedImage
    from smoothcert.schemas.certificate import Certificate
    from smoothcert.schemas.job import Job, Progress

    Stream = Iterator[Progress | Certificate]


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
    deadline: Deadline = None,
    url: Annotated[str | None, typer.Option(help="Ask this service instead of certifying here.")] = None,
    engine: EngineOption = None,
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
    from smoothcert.cli.options import expand, is_one_file

    if url is not None and engine is not None:
        raise InvalidRequest(
            "--engine is about this machine; the workers of --url choose theirs: leave it out."
        )
    check_out(out)
    options = given(
        n=n,
        n0=n0,
        alpha=alpha,
        procedure=procedure,
        target_radius=target_radius,
        tolerance=tolerance,
        deadline=deadline,
    )
    paths = expand(images)
    with _certifier(model, options, engine, url) as certifier:
        if is_one_file(images):
            certified = [(paths[0], _watch(certifier.one(paths[0])))]
        else:
            certified = _watch_all(certifier.all(paths), len(paths))
    _print(certified, "json" if as_json else format_name, out, alone=is_one_file(images))


@contextmanager
def _certifier(
    model: str | None, options: dict[str, Any], engine: str | None, url: str | None
) -> Iterator[Certifier]:
    from smoothcert.cli.settings import settings
    from smoothcert.client import Client

    if url is None:
        yield LocalCertifier(model, options, engine)
        return
    with Client(url, settings().bearer) as client:
        yield RemoteCertifier(client, options | given(model=model))


def _watch(stream: Stream) -> Any:
    from smoothcert.cli.output import so_far
    from smoothcert.schemas.certificate import Certificate

    with progress_bar("votes") as update:
        for sign in stream:
            if isinstance(sign, Certificate):
                return sign
            update(sign.samples, sign.of, so_far(sign))
    raise AssertionError("the stream ends in a certificate")


def _watch_all(certified: Iterator[Certified], of: int) -> list[Certified]:
    done: list[Certified] = []
    with progress_bar("images") as update:
        for path, certificate in certified:
            done.append((path, certificate))
            update(len(done), of, path.name)
    return done


def _print(certified: list[Certified], format_name: Format, out: Path | None, *, alone: bool) -> None:
    from smoothcert.cli.output import as_document, as_table, as_tsv, describe, to_json

    document = as_document(certified[0][1]) if alone else to_json(certified)
    try:
        if out is not None:
            write_file(out, document + "\n", "--out")
    finally:  # print the result even if the file could not be written
        if format_name == "json":
            show(document)
        elif format_name == "tsv":
            show(as_tsv(certified))
        else:
            show(describe(certified[0][1]) if alone else as_table(certified))


class Certifier(Protocol):
    """Certifies image files. Raises InvalidRequest before the first vote, InternalError for a failed job."""

    def one(self, path: Path) -> Stream: ...

    def all(self, paths: Sequence[Path]) -> Iterator[Certified]: ...


class LocalCertifier:
    """Certifies in this process. Invalid requests are found before torch is loaded."""

    def __init__(self, model: str | None, options: dict[str, Any], engine: str | None) -> None:
        """Raises InvalidRequest: unknown model or invalid parameters."""
        from smoothcert.cli.checkpoints import find_checkpoint

        self.checkpoint = find_checkpoint(model)
        self.parameters = parameters(options, self.checkpoint.card.sigma)
        self._engine_name = engine

    def one(self, path: Path) -> Stream:
        """Certify one file."""
        return self._certify(self._read(path))

    def all(self, paths: Sequence[Path]) -> Iterator[Certified]:
        """Certify files one after the other; all are decoded before the first vote."""
        from smoothcert.schemas.certificate import Certificate

        images = [self._read(path) for path in paths]
        for path, image in zip(paths, images, strict=True):
            *_, last = self._certify(image)
            assert isinstance(last, Certificate)
            yield path, last

    def _read(self, path: Path) -> CertifiedImage:
        from smoothcert.files import read_file
        from smoothcert.images.decode import read_image

        try:
            return read_image(read_file(path), self.checkpoint.card)
        except BadImage as error:
            raise BadImage(f"{path}: {error}") from error

    def _certify(self, image: CertifiedImage) -> Stream:
        from smoothcert.schemas.parameters import refuse_impossible

        refuse_impossible(self.parameters)
        return self._classifier.stream(image, self.parameters, secrets.token_hex(16))

    @cached_property
    def _classifier(self) -> SmoothedClassifier:
        from smoothcert.classifier import SmoothedClassifier
        from smoothcert.cli.checkpoints import build_engine

        return SmoothedClassifier.of(self.checkpoint.card, build_engine(self.checkpoint, self._engine_name))


class RemoteCertifier:
    """Certifies by a service. An interrupt cancels the unfinished jobs."""

    def __init__(self, client: Client, options: dict[str, Any]) -> None:
        self._client = client
        self._fields = {option: str(value) for option, value in options.items()}

    def one(self, path: Path) -> Stream:
        """Certify one file."""
        from smoothcert.files import read_file

        job = self._client.submit_file(shown(path.name), read_file(path), self._fields)
        try:
            for job in self._client.follow(job):  # noqa: B020
                yield job.progress
        except KeyboardInterrupt:
            self._client.cancel(job)
            raise
        yield _certificate(job)

    def all(self, paths: Sequence[Path]) -> Iterator[Certified]:
        """Certify files in batches; results in the order of the paths."""
        from smoothcert.cli.options import slices

        for part in slices(paths):
            batch = self._client.submit_batch([(shown(path.name), data) for path, data in part], self._fields)
            read = 0
            try:
                for batch in self._client.follow_batch(batch):  # noqa: B020
                    while read < len(part) and batch.jobs[read].ended:
                        yield part[read][0], _certificate(batch.jobs[read])
                        read += 1
            except KeyboardInterrupt:
                for job in batch.jobs:
                    self._client.cancel(job)
                raise


def _certificate(job: Job) -> Certificate:
    from smoothcert.client import certificate_of

    return certificate_of(job)
