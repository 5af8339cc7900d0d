"""One image to its certificate, here or by a service: a stream of progress that ends in a certificate."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from certification.contract.certificate import Certificate
from certification.contract.images import read_image
from certification.contract.job import Job, Progress
from certification.errors import Failure, UserMistake
from smoothcert.asking import parameters
from smoothcert.checkpoints import build_engine, find_checkpoint
from smoothcert.client import ServiceClient

CHUNK = 4096  # votes between two signs of life
Stream = Iterator[Progress | Certificate]


def read_file(path: Path) -> bytes:
    """An image file's bytes. Raises UserMistake."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserMistake(f"{path} can't be read: {error.strerror}.") from error


def certify_here(data: bytes, model: str | None, options: dict[str, Any], setup: str | None) -> Stream:
    """Certify in this process. What the user got wrong is found before torch is loaded."""
    checkpoint = find_checkpoint(model)
    card = checkpoint.card
    asked = parameters(options, card.sigma)
    image = read_image(data, card)
    from certification.issue import issue
    from certification.procedure import Certification, drive, refuse_impossible

    refuse_impossible(asked)
    engine = build_engine(checkpoint, setup)
    seed = secrets.token_hex(16)
    source = engine.sampler(image.to_array(), card.sigma, int(seed, 16))
    certification = Certification(asked, source.num_classes, slack=source.slack)
    yield from drive(certification, source, CHUNK)
    yield issue(
        certification.result,
        asked,
        card=card,
        input_digest=image.digest,
        seed=seed,
        engine=engine.description,
    )


def certify_there(data: bytes, name: str, options: dict[str, Any], url: str, api_key: str | None) -> Stream:
    """Certify by a service. An interrupt cancels the job."""
    fields = {option: str(value) for option, value in options.items()}
    with ServiceClient(url, api_key) as client:
        job = client.submit(data, name, fields, key=secrets.token_urlsafe(16))
        try:
            for job in client.follow(job):  # noqa: B020
                yield job.progress
        except KeyboardInterrupt:
            client.cancel(job)
            raise
    yield _certificate(job)


def _certificate(job: Job) -> Certificate:
    if job.certificate is not None:
        return job.certificate
    why = job.error.detail if job.error else "it was cancelled before anything was proved"
    raise Failure(f"Job {job.id} {job.status}: {why}")
