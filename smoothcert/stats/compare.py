"""Compares certificates and statements with a model's card, and a certificate with the digest of an image."""

import math
from collections.abc import Iterator

from smoothcert.noise.normal import slack
from smoothcert.schemas.card import INT8, ModelCard
from smoothcert.schemas.certificate import Certificate, InputDigest
from smoothcert.schemas.statement import Statement
from smoothcert.stats.verify import Check


def check_model(certificate: Certificate, card: ModelCard) -> Iterator[Check]:
    """Whether the certificate is about this model: its digests, then `check_card`."""
    differing = difference(certificate, card)
    yield Check("model", not differing, f"the {differing} of {card.name} here differ")
    yield from check_card(certificate, card)


def check_named(certificate: Certificate, card: ModelCard) -> Iterator[Check]:
    """As `check_model`, of the model with its name and weights here, which nobody said is meant.

    So a difference in the rest is no error, but `model` is then not among the checks.
    """
    if not difference(certificate, card):
        yield Check("model", True, "")
    yield from check_card(certificate, card)


def check_card(certificate: Certificate, card: ModelCard) -> Iterator[Check]:
    """Whether sigma and label are the card's; input shape and number of classes only where they are not.

    These two confirm no figure: a check that holds would say that the counts were compared.
    """
    yield _check_sigma(certificate, card)
    if certificate.input.shape != card.input_shape:
        yield Check("input.shape", False, f"{card.name} takes {'x'.join(map(str, card.input_shape))}")
    if len(certificate.counts) != len(card.labels):
        yield Check("counts", False, f"{card.name} has {len(card.labels)} classes")
    yield _check_label(certificate, card)


def difference(certificate: Certificate, card: ModelCard) -> str:
    """What differs between a network and the one in the certificate; empty if nothing does.

    Old certificates name only the weights, which is not enough in int8: the rounding is part of the
    classifier.
    """
    voted, rounds = certificate.model, certificate.engine.precision == INT8
    if voted.sha256 != card.weights_sha256:
        return "weights"
    here = card.classifier_sha256_in(certificate.engine.precision)
    if voted.classifier_sha256 in ({here} if rounds else {None, here}):
        return ""
    return f"architecture or normalisation{' or int8 rounding' if rounds else ''}"


def check_statement(statement: Statement, card: ModelCard) -> Iterator[Check]:
    """Whether a statement is about this model: its digests, sigma, classes, and the slack of its noise."""
    here, named = card.classifier_sha256_in(precision_of(statement.engine)), statement.model
    same = named.sha256 == card.weights_sha256
    yield Check("model.sha256", same, f"the weights of {card.name} here differ")
    same = named.classifier_sha256 in (None, here)
    yield Check("model.classifier_sha256", same, "is of another classifier")
    yield _check_sigma(statement, card)
    labels = [one.label for one in statement.classes]
    yield Check("classes", labels == list(card.labels), f"are not those of {card.name}")
    least = slack(statement.sigma, math.prod(card.input_shape))
    yield Check("slack", statement.slack >= least, "is less than the noise's own")


def precision_of(engine: str) -> str:
    """The precision of an engine config, written as device:backend:precision:batch."""
    parts = engine.split(":")
    return parts[2] if len(parts) > 2 else "float32"


def check_input(certificate: Certificate, here: InputDigest, name: str) -> Check:
    """Whether the certified pixels are those of this image."""
    claimed = certificate.input
    same = (here.shape, here.sha256) == (claimed.shape, claimed.sha256)
    return Check("input", same, f"the pixels of {name} are others")


def _check_sigma(document: Certificate | Statement, card: ModelCard) -> Check:
    return Check("sigma", document.sigma == card.sigma, f"{card.name} is certified at {card.sigma:g}")


def _check_label(certificate: Certificate, card: ModelCard) -> Check:
    """Whether the label is the one that the card gives the class."""
    k = certificate.predicted_class
    label = card.labels[k] if k is not None and 0 <= k < len(card.labels) else None
    return Check("label", certificate.label == label, f"{card.name} calls class {k} {label!r}")
