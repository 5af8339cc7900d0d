"""GET /models: the models of this service, with their measured accuracy and speed."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field

from service.errors import NotFound
from service.openapi import problems
from service.state import ServiceOf
from smoothcert.errors import BrokerUnavailable, UnknownModel
from smoothcert.jobs.metrics import Metrics
from smoothcert.schemas.card import ModelCard
from smoothcert.schemas.statement import Statement

router = APIRouter(prefix="/models", tags=["models"])


class ServedModel(ModelCard):
    """A card, and what the workers report of it: speed, queue, failure to load."""

    votes_per_second: Annotated[
        float | None, Field(description="mean of one worker here; null before its first votes")
    ] = None
    refused: Annotated[
        str | None, Field(description="why a worker could not load it; null if none failed")
    ] = None
    waiting: Annotated[
        int | None, Field(description="jobs in its queue; null while the broker does not answer")
    ] = None


@router.get("", summary="The model cards")
def list_models(service: ServiceOf) -> list[ServedModel]:
    """Every model this service can certify with, sorted by name."""
    facts = _broker_facts(service)
    return [_served(card, facts) for card in service.models.cards()]


@router.get("/{name}", summary="One model card", responses=problems(404, 503))
def read_model(name: str, service: ServiceOf) -> ServedModel:
    """The card of one model: input, labels, sigma, how it was trained, what it measured."""
    try:
        card = service.models.card(name)
    except UnknownModel as error:
        raise NotFound(str(error)) from error
    return _served(card, _broker_facts(service))


@router.get(
    "/{name}/statement",
    summary="What is proved of a model",
    responses=problems(404, 503),
    response_model=Statement,
)
def read_statement(name: str, service: ServiceOf) -> Response:
    """The signed statement about the model's test images, as it was written; `POST /verify` checks it."""
    try:
        content = service.models.statement(name)
    except UnknownModel as error:
        raise NotFound(str(error)) from error
    if content is None:
        reason = service.models.card(name).no_statement
        raise NotFound(f"There is no statement about {name}{f': {reason}' if reason else ''}.")
    disposition = {"Content-Disposition": f'attachment; filename="statement-{name}.json"'}
    return Response(content, media_type="application/json", headers=disposition)


@dataclass(frozen=True)
class BrokerFacts:
    """What the broker knows of models: metrics, and why a worker could not load one."""

    metrics: Metrics
    refused: dict[str, str]


def _broker_facts(service: ServiceOf) -> BrokerFacts | None:
    try:
        return BrokerFacts(service.store.metrics(), service.store.refused_models())
    except BrokerUnavailable:
        return None


def _served(card: ModelCard, facts: BrokerFacts | None) -> ServedModel:
    if facts is None:
        return ServedModel(**dict(card))
    metrics = facts.metrics
    seconds, queue = metrics.histogram("chunk", card.name).seconds, metrics.queues.get(card.name)
    return ServedModel(
        **dict(card),
        votes_per_second=metrics.count("votes", card.name) / seconds if seconds else None,
        refused=facts.refused.get(card.name),
        waiting=queue.depth if queue else 0,
    )
