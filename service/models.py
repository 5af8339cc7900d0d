"""GET /models: what can be asked, with its measured figures."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from certification.contract.card import ModelCard
from certification.contract.store.figures import Figures
from certification.errors import BrokerUnavailable, UnknownModel
from service.errors import NotFound
from service.openapi import problems
from service.state import ServiceOf

router = APIRouter(prefix="/models", tags=["models"])


class ServedModel(ModelCard):
    """A card, and how fast this service's workers have answered with it."""

    votes_per_second: Annotated[
        float | None, Field(description="mean of a worker's votes here; null before the first")
    ] = None
    waiting: Annotated[int | None, Field(description="jobs in its queue; null while the broker is away")] = (
        None
    )


@router.get("", summary="The model cards")
def list_models(service: ServiceOf) -> list[ServedModel]:
    """Every model this service can certify with, sorted by name."""
    figures = _figures(service)
    return [_served(card, figures) for card in service.catalogue.cards()]


@router.get("/{name}", summary="One model card", responses=problems(404, 503))
def read_model(name: str, service: ServiceOf) -> ServedModel:
    """The card of one model: input, labels, sigma, how it was trained, what it measured."""
    try:
        card = service.catalogue.card(name)
    except UnknownModel as error:
        raise NotFound(str(error)) from error
    return _served(card, _figures(service))


def _figures(service: ServiceOf) -> Figures | None:
    try:
        return service.store.figures()
    except BrokerUnavailable:
        return None


def _served(card: ModelCard, figures: Figures | None) -> ServedModel:
    if figures is None:
        return ServedModel(**dict(card))
    seconds, queue = figures.histogram("chunk", card.name).seconds, figures.queues.get(card.name)
    return ServedModel(
        **dict(card),
        votes_per_second=figures.count("votes", card.name) / seconds if seconds else None,
        waiting=queue.depth if queue else 0,
    )
