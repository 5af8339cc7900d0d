"""Builds the Certificate document from a Result and the identity of model, image, seed and engine."""

from datetime import UTC, datetime

from smoothcert.schemas.card import ModelCard
from smoothcert.schemas.certificate import Certificate, Engine, InputDigest, ModelDigest
from smoothcert.schemas.parameters import Parameters
from smoothcert.stats.procedure import Result


def build_certificate(
    result: Result,
    parameters: Parameters,
    *,
    card: ModelCard,
    input_digest: InputDigest,
    seed: str,
    engine: Engine,
) -> Certificate:
    """The certificate of a result. seed: 128 bits, hexadecimal.

    All figures are copied from the result; only the label is looked up in the card.
    """
    winner = result.predicted_class
    return Certificate(
        outcome=result.outcome,
        procedure=parameters.procedure,
        predicted_class=winner,
        label=None if winner is None else card.labels[winner],
        radius=result.radius,
        sigma=parameters.sigma,
        alpha=parameters.alpha,
        n0=parameters.n0,
        n=result.n,
        drawn=result.drawn,
        selection_counts=list(result.selection_counts),
        counts=list(result.counts),
        bound=result.bound,
        p_lower=result.p_lower,
        p_upper=result.p_upper,
        schedule=list(result.schedule),
        slack=result.slack,
        target_radius=parameters.target_radius,
        tolerance=parameters.tolerance,
        target_met=result.target_met,
        model=ModelDigest(
            name=card.name,
            sha256=card.weights_sha256,
            classifier_sha256=card.classifier_sha256_in(engine.precision),
        ),
        input=input_digest,
        seed=seed,
        engine=engine,
        issued_at=datetime.now(UTC),
    )
