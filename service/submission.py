"""From an upload to a queued job: decode, check against the model's card, write the record, send its id."""

import hashlib
from contextvars import copy_context
from dataclasses import dataclass

import structlog

from service.auth import Caller
from service.state import Service
from smoothcert.errors import BrokerUnavailable
from smoothcert.images.decode import read_image
from smoothcert.images.pixels import CertifiedImage
from smoothcert.jobs.store import Lane, Request
from smoothcert.jobs.tasks import Message
from smoothcert.schemas.card import ModelCard
from smoothcert.schemas.job import Job
from smoothcert.schemas.parameters import Parameters, Question, refuse_impossible

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Upload:
    """One image as uploaded, with its parameters and caller."""

    data: bytes
    question: Question
    model: str | None
    caller: Caller
    request_id: str
    idempotency_key: str | None = None
    lane: Lane = "single"


def submit(upload: Upload, service: Service) -> Job:
    """Submits an upload. The job is new, or an earlier one with the same idempotency key.

    Raises what `prepare` and `place` raise.
    """
    return place(prepare(upload, service), service)


def prepare(upload: Upload, service: Service) -> Request:
    """Checks the parameters and decodes the image; writes nothing.

    Raises UnknownModel, BadCheckpoint, ImpossibleRequest, BadImage.
    """
    card = service.models.card(upload.model or default_model(service))
    parameters = ask(upload.question, card)
    image = service.decoders.submit(read_image, upload.data, card).result()
    return _request(upload, card, parameters, image)


def place(request: Request, service: Service, job_id: str | None = None) -> Job:
    """Writes the record; the sender thread sends the message.

    Raises KeyReused, QueueFull, OverQuota, BrokerUnavailable.
    """
    submission = service.store.submit(request, job_id)
    if submission.message:
        log.info("submitted", job=submission.job_id, model=request.model, owner=request.owner)
        service.sender.submit(copy_context().run, _send, submission.message, service)
    return submission.job


def default_model(service: Service) -> str:
    """The configured default model if it exists, else the first by name."""
    preferred = service.settings.default_model
    names = service.models.names()
    return preferred if preferred in names or not names else names[0]


def ask(question: Question, card: ModelCard) -> Parameters:
    """The parameters for one model. Raises ImpossibleRequest if no outcome could satisfy them."""
    parameters = Parameters(**question.model_dump(), sigma=card.sigma)
    refuse_impossible(parameters)
    return parameters


def _request(upload: Upload, card: ModelCard, parameters: Parameters, image: CertifiedImage) -> Request:
    body = hashlib.sha256(f"{card.name}\n{parameters.model_dump_json()}\n".encode() + upload.data)
    return Request(
        model=card.name,
        parameters=parameters,
        image=image,
        owner=upload.caller.name,
        idempotency_key=upload.idempotency_key,
        body=body.hexdigest(),
        open_cap=upload.caller.open_jobs,
        request_id=upload.request_id,
        lane=upload.lane,
    )


def _send(message: Message, service: Service) -> None:
    """Runs in the sender thread. A failure loses no job: a sweep sends the message again."""
    try:
        service.publisher.send(message)
    except BrokerUnavailable:
        log.warning("message not sent", job=message.job_id)
    except Exception:  # no caller reads this future's exception
        log.exception("message not sent", job=message.job_id)
