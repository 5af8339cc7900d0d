"""Certificates of known votes, and what is wrong with an edited one."""

from typing import Any

from smoothcert.noise.normal import slack
from smoothcert.schemas.certificate import Certificate, EngineDescription, InputDigest
from smoothcert.schemas.parameters import Parameters
from smoothcert.stats.certificate import build_certificate
from smoothcert.stats.procedure import Certification, drive
from smoothcert.stats.verify import verify
from smoothcert.testing import KnownVotes
from tests.support.cards import card_with

SHAPE = (1, 28, 28)
CARD = card_with(name="known", labels=["zero", "one", "two"], weights_sha256="0" * 64)
SURE = [0.05, 0.92, 0.03]
EVEN = [0.34, 0.33, 0.33]


def certification_of(wish: dict[str, Any], more_slack: float = 0.0) -> Certification:
    parameters = Parameters.model_validate({"sigma": 0.5, "n": 10_000} | wish)
    return Certification(parameters, 3, slack=slack(0.5, 28 * 28) + more_slack)


def issued(certification: Certification) -> Certificate:
    return build_certificate(
        certification.result,
        certification.parameters,
        card=CARD,
        input_digest=InputDigest(shape=SHAPE, sha256="0" * 64, preprocessing=[]),
        seed="0" * 32,
        engine=EngineDescription(device="cpu", backend="eager", precision="float32", batch=1),
    )


def certificate_for(wish: dict[str, Any], probabilities: list[float] = SURE) -> Certificate:
    certification = certification_of(wish)
    for _ in drive(certification, KnownVotes(probabilities), 5000):
        pass
    return issued(certification)


def wrong_field(certificate: Certificate, **edits: Any) -> str | None:
    """Which field is refused after editing these, or None when all holds. Another radius implies nothing."""
    edits = {"implied": None} | edits if "radius" in edits else edits
    wrong = verify(certificate.model_copy(update=edits)).first_wrong
    return wrong.field if wrong else None
