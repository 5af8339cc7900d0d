"""GET /models: what can be asked, with its measured figures."""

from fastapi import APIRouter

from certification.contract.card import ModelCard
from certification.errors import UnknownModel
from service.errors import NotFound
from service.openapi import problems
from service.state import ServiceOf

router = APIRouter(prefix="/models", tags=["models"])


@router.get("", summary="The model cards")
def list_models(service: ServiceOf) -> list[ModelCard]:
    """Every model this service can certify with, sorted by name."""
    return service.catalogue.cards()


@router.get("/{name}", summary="One model card", responses=problems(404, 503))
def read_model(name: str, service: ServiceOf) -> ModelCard:
    """The card of one model: input, labels, sigma, how it was trained, what it measured."""
    try:
        return service.catalogue.card(name)
    except UnknownModel as error:
        raise NotFound(str(error)) from error
