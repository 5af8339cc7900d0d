from datetime import UTC, datetime, timedelta

from smoothcert.schemas.card import ModelCard, Preprocessing
from smoothcert.schemas.certificate import Certificate, EngineDescription, InputDigest
from smoothcert.schemas.parameters import Parameters
from smoothcert.stats.certificate import build_certificate
from smoothcert.stats.procedure import Certification, Result, drive
from smoothcert.testing import KnownVotes

CARD = ModelCard(
    name="m",
    architecture="none",
    dataset="none",
    input_shape=(1, 2, 2),
    labels=["zero", "one"],
    preprocessing=Preprocessing(mode="L", mean=(0.0,), std=(1.0,)),
    sigma=0.5,
    method="none",
    weights_sha256="ab" * 32,
    data_license="none",
)
DIGEST = InputDigest(shape=(1, 2, 2), sha256="cd" * 32, preprocessing=["as it came"])
ENGINE = EngineDescription(device="d", backend="b", precision="p", batch=1)


def issued(probabilities: list[float]) -> tuple[Result, Certificate]:
    parameters = Parameters(n=2000, sigma=0.5, target_radius=0.25, tolerance=0.5)
    certification = Certification(parameters, 2)
    for _ in drive(certification, KnownVotes(probabilities), most=1000):
        pass
    result = certification.result
    return result, build_certificate(
        result, parameters, card=CARD, input_digest=DIGEST, seed="0f", engine=ENGINE
    )


def test_a_certificate_holds_the_evidence_of_its_result() -> None:
    result, certificate = issued([0.05, 0.95])
    copied = set(Result.__dataclass_fields__) & set(Certificate.model_fields)
    assert len(copied) >= 11
    for name in copied:
        held, proved = getattr(certificate, name), getattr(result, name)
        assert held == (list(proved) if isinstance(proved, tuple) else proved), name
    assert (certificate.outcome, certificate.label, certificate.target_met) == ("certified", "one", True)
    assert (certificate.procedure, certificate.alpha, certificate.n0) == ("anytime", 0.001, 100)
    assert certificate.model.classifier_sha256 == CARD.classifier_sha256_in("p")
    assert (certificate.model.name, certificate.model.sha256) == (CARD.name, CARD.weights_sha256)
    assert (certificate.input, certificate.engine, certificate.seed) == (DIGEST, ENGINE, "0f")
    assert (certificate.sigma, certificate.target_radius, certificate.tolerance) == (0.5, 0.25, 0.5)


def test_an_abstention_names_no_class() -> None:
    _, certificate = issued([0.5, 0.5])
    assert (certificate.outcome, certificate.predicted_class, certificate.label) == ("abstained", None, None)
    assert certificate.radius == 0


def test_a_certificate_says_when_it_was_issued_in_utc() -> None:
    before = datetime.now(UTC)
    _, certificate = issued([0.05, 0.95])
    assert before <= certificate.issued_at <= datetime.now(UTC)
    assert certificate.issued_at.utcoffset() == timedelta(0)


def test_a_certificate_survives_json_exactly() -> None:
    _, certificate = issued([0.05, 0.95])
    assert Certificate.model_validate_json(certificate.model_dump_json()) == certificate


def test_only_a_service_counts_what_was_asked_before() -> None:
    result, certificate = issued([0.05, 0.95])
    assert certificate.asked_before is None
    counted = build_certificate(
        result,
        Parameters(n=2000, sigma=0.5),
        card=CARD,
        input_digest=DIGEST,
        seed="0f",
        engine=ENGINE,
        asked_before=3,
    )
    assert counted.asked_before == 3
