"""Builds the Certificate document from a Result and the identity of model, image, seed and engine."""

import math
from datetime import UTC, datetime
from fractions import Fraction
from importlib.metadata import version

from smoothcert.schemas.card import ModelCard
from smoothcert.schemas.certificate import (
    Certificate,
    EngineDescription,
    Implied,
    InputDigest,
    MadeBy,
    ModelDigest,
    Shape,
)
from smoothcert.schemas.parameters import Parameters
from smoothcert.stats.procedure import Result


def build_certificate(
    result: Result,
    parameters: Parameters,
    *,
    card: ModelCard,
    input_digest: InputDigest,
    seed: str,
    engine: EngineDescription,
    out_of_time: bool = False,
    asked_before: int | None = None,
) -> Certificate:
    """The certificate of a result. seed: 128 bits, hexadecimal. out_of_time: the deadline ended the drawing.
    asked_before: as a service counted it.

    All figures are copied from the result; only the label is looked up in the card.
    """
    winner = result.predicted_class
    return Certificate(
        outcome=result.outcome,
        procedure=parameters.procedure,
        predicted_class=winner,
        label=None if winner is None else card.labels[winner],
        radius=result.radius,
        implied=implied_by(result.radius, input_digest.shape),
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
        deadline=parameters.deadline,
        ended_by="deadline" if out_of_time else None,
        model=ModelDigest(
            name=card.name,
            sha256=card.weights_sha256,
            classifier_sha256=card.classifier_sha256_in(engine.precision),
        ),
        input=input_digest,
        seed=seed,
        engine=engine,
        asked_before=asked_before,
        made_by=MadeBy(name="SmoothCert", version=version("smoothcert")),
        issued_at=datetime.now(UTC),
    )


def implied_by(radius: float, shape_CHW: Shape) -> Implied:
    """What an l2 radius implies for images of this shape, in exact arithmetic, rounded down.

    l1: |d|_2 <= |d|_1. linf: |d|_2 <= sqrt(C*H*W) |d|_inf. pixels: k pixels, each channel of which changes
    by at most 1, give |d|_2 <= sqrt(C*k).
    """
    channels, height, width = shape_CHW
    square, values = Fraction(radius) ** 2, channels * height * width
    linf = radius / math.sqrt(values)
    while Fraction(linf) ** 2 * values > square:
        linf = math.nextafter(linf, 0.0)
    return Implied(
        l1=radius,
        linf=linf,
        linf_levels=min(math.isqrt(_greatest_below(square * 255**2 / values)), 255),
        pixels=min(_greatest_below(square / channels), height * width),
    )


def _greatest_below(value: Fraction) -> int:
    """The greatest whole number below `value`; 0 if there is none from 0 up."""
    return max(math.ceil(value) - 1, 0)
