"""GET /keys/signing: the public keys that certificates are signed with."""

from fastapi import APIRouter

from service.openapi import problems
from service.state import Service, ServiceOf
from smoothcert.schemas.certificate import PublicKeys

router = APIRouter(prefix="/keys", tags=["keys"])


@router.get("/signing", summary="Keys to check signatures with", responses=problems(503))
def read_signing_keys(service: ServiceOf) -> PublicKeys:
    """A JSON web key set, the newest key first; empty where certificates are not signed."""
    return public_keys(service)


def public_keys(service: Service) -> PublicKeys:
    """The keys of the configured file; none without one. Raises BadKeyFile."""
    path = service.settings.signing_keys
    return PublicKeys.read(path) if path else PublicKeys()
