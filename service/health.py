"""GET /health/*: `live` depends on nothing; `ready` lists what is missing. GET /version."""

from importlib.metadata import version

from fastapi import APIRouter
from pydantic import BaseModel

from service.errors import Unavailable
from service.openapi import problems
from service.state import Service, ServiceOf
from smoothcert.errors import BrokerUnavailable
from smoothcert.jobs.broker import evicts
from smoothcert.schemas.certificate import MadeBy

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """All is well: anything else is a problem document."""

    status: str = "ok"


@router.get("/health/live", summary="Is the process alive?")
async def check_live() -> Health:
    """Depends on nothing else."""
    return Health()


@router.get("/health/ready", summary="Can it certify?", responses=problems(503))
def check_ready(service: ServiceOf) -> Health:
    """503, saying what is missing, unless the broker answers and every model has a worker that takes jobs.

    A folder whose card can't be used is named too: somebody means it to be served.
    """
    missing = _missing(service)
    if missing:
        raise Unavailable(f"Not ready: {'; '.join(missing)}.")
    return Health()


@router.get("/version", summary="What is this?")
async def read_version() -> MadeBy:
    """The software of this service, as its certificates name it."""
    return MadeBy(name="SmoothCert", version=version("smoothcert"))


def _missing(service: Service) -> list[str]:
    """Why the service can't certify now, one clause each; empty if it can."""
    names = service.models.names()
    if not names:
        return ["there is no model"]
    try:
        workers, refused = service.store.workers(), service.store.refused_models()
        evicting = evicts(service.store.client)
    except BrokerUnavailable as error:
        return [str(error).removesuffix(".")]
    served = {name for worker in workers for name in worker.models}
    loading = {name for worker in workers for name in worker.loading}
    unserved = [
        f"the worker for {name} is loading" if name in loading else f"no live worker for {name}"
        for name in names
        if name not in served and name not in refused
    ]
    broken = [f"{name} can't be loaded: {refused[name].rstrip('.')}" for name in names if name in refused]
    broken += [f"{name} is left out: {why.rstrip('.')}" for name, why in service.models.broken().items()]
    return ([evicting] if evicting else []) + unserved + broken
