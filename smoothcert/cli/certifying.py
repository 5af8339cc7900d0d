"""Images to certificates, here or by a service. One image is a stream that ends in its certificate."""

import secrets
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from smoothcert.cli.asking import parameters
from smoothcert.cli.checkpoints import build_engine, find_checkpoint
from smoothcert.cli.client import ServiceClient
from smoothcert.cli.images import read_file, slices
from smoothcert.errors import BadImage, InternalError
from smoothcert.files import shown
from smoothcert.images.decode import read_image
from smoothcert.images.pixels import CertifiedImage
from smoothcert.schemas.certificate import Certificate
from smoothcert.schemas.feasibility import refuse_impossible
from smoothcert.schemas.job import Job, Progress

if TYPE_CHECKING:
    from smoothcert.engines.engine import Engine

CHUNK = 8192  # votes between two signs of life
Stream = Iterator[Progress | Certificate]
Certified = tuple[Path, Certificate]


class Certifier(Protocol):
    """Who certifies. Both raise InvalidRequest before the first vote, InternalError for a job that came to
    nothing.
    """

    def one(self, path: Path) -> Stream: ...

    def all(self, paths: Sequence[Path]) -> Iterator[Certified]: ...


class Here:
    """This process. What the user got wrong is found before torch is loaded."""

    def __init__(self, model: str | None, options: dict[str, Any], setup: str | None) -> None:
        """Raises InvalidRequest: no such model, or a question that can't be answered."""
        self.checkpoint = find_checkpoint(model)
        self.asked = parameters(options, self.checkpoint.card.sigma)
        self._setup = setup

    def one(self, path: Path) -> Stream:
        """Certify one file."""
        return self._certify(self._read(path))

    def all(self, paths: Sequence[Path]) -> Iterator[Certified]:
        """One after the other, on one engine; every file is decoded before the first vote."""
        images = [self._read(path) for path in paths]
        for path, image in zip(paths, images, strict=True):
            *_, last = self._certify(image)
            assert isinstance(last, Certificate)
            yield path, last

    def _read(self, path: Path) -> CertifiedImage:
        try:
            return read_image(read_file(path), self.checkpoint.card)
        except BadImage as error:
            raise BadImage(f"{path}: {error}") from error

    def _certify(self, image: CertifiedImage) -> Stream:
        from smoothcert.stats.certificate import build_certificate
        from smoothcert.stats.procedure import Certification, drive

        refuse_impossible(self.asked)
        seed = secrets.token_hex(16)
        source = self._engine.sampler(image.to_array(), self.asked.sigma, int(seed, 16))
        certification = Certification(self.asked, source.num_classes, slack=source.slack)
        yield from drive(certification, source, CHUNK)
        yield build_certificate(
            certification.result,
            self.asked,
            card=self.checkpoint.card,
            input_digest=image.digest,
            seed=seed,
            engine=self._engine.description,
        )

    @cached_property
    def _engine(self) -> "Engine":
        return build_engine(self.checkpoint, self._setup)


class There:
    """A service. An interrupt cancels what has not ended."""

    def __init__(self, client: ServiceClient, options: dict[str, Any]) -> None:
        self._client = client
        self._fields = {option: str(value) for option, value in options.items()}

    def one(self, path: Path) -> Stream:
        """Certify one file."""
        job = self._client.submit(shown(path.name), read_file(path), self._fields)
        try:
            for job in self._client.follow(job):  # noqa: B020
                yield job.progress
        except KeyboardInterrupt:
            self._client.cancel(job)
            raise
        yield certificate_of(job)

    def all(self, paths: Sequence[Path]) -> Iterator[Certified]:
        """As batches, in the order of the paths."""
        for part in slices(paths):
            batch = self._client.submit_batch([(shown(path.name), data) for path, data in part], self._fields)
            told = 0
            try:
                for batch in self._client.follow_batch(batch):  # noqa: B020
                    while told < len(part) and batch.jobs[told].ended:
                        yield part[told][0], certificate_of(batch.jobs[told])
                        told += 1
            except KeyboardInterrupt:
                for job in batch.jobs:
                    self._client.cancel(job)
                raise


def certificate_of(job: Job) -> Certificate:
    """The certificate of a job that has ended. Raises InternalError when it has none."""
    if job.certificate is not None:
        return job.certificate
    why = job.error.detail if job.error else "it was cancelled before anything was proved"
    raise InternalError(f"Job {job.id} {job.status}: {why}")
