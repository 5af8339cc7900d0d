"""Verifies a certificate: its figures against its counts, and against a model, an image and redrawn votes."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smoothcert.environment import models_folder
from smoothcert.errors import BadCheckpoint, BadImage, InvalidRequest, NotProved, UnknownModel
from smoothcert.images.arrays import certified_image
from smoothcert.images.pixels import CertifiedImage
from smoothcert.models.registry import BUNDLED, ModelRegistry
from smoothcert.schemas.card import ModelCard, Preprocessing
from smoothcert.schemas.certificate import Certificate, Shape
from smoothcert.schemas.statement import Statement
from smoothcert.stats.compare import check_input, check_model, check_named
from smoothcert.stats.verify import Check, Report
from smoothcert.stats.verify import verify as recompute
from smoothcert.votes import VoteRange

if TYPE_CHECKING:
    from smoothcert.classifier import SmoothedClassifier
    from smoothcert.engines.as_given import AsGivenEngine
    from smoothcert.engines.engine import Engine


def verify(
    certificate: Certificate | str | Path,
    image: Any = None,
    model: "str | Path | SmoothedClassifier | None" = None,
    replay: bool = False,
) -> Report:
    """Raise NotProved, naming the first field that does not hold; else return all checks.

    certificate: or its file. Every figure is recomputed from the counts, by code that shares nothing with the
    code that issues. image: in any form that `certify` takes; its pixels are compared. model: a name, a
    checkpoint folder or a SmoothedClassifier; its digests, sigma, shape and labels are compared, as are those
    of the model that is named, if it is here. replay: redraw every vote from the seed, which needs the image,
    and the model if the one named is not here. Loads torch only for a replay. Raises also
    NotACertificate, InvalidRequest, BadImage, UnknownModel, BadCheckpoint.
    """
    if not isinstance(certificate, Certificate):
        certificate = Certificate.load(certificate)
    if replay and image is None:
        raise InvalidRequest("A replay needs the image that was certified: give it as image=.")
    checks = []
    for check in chain(recompute(certificate).checks, _given(certificate, image, model, replay)):
        if not check.holds:
            raise NotProved(check.field, check.reason)
        checks.append(check)
    return Report(tuple(checks))


class Pixels:
    """How to decode the image if its model is not given: by the shape in the certificate."""

    def __init__(self, certificate: Certificate) -> None:
        self.input_shape: Shape = certificate.input.shape
        mode = "L" if self.input_shape[0] == 1 else "RGB"
        self.preprocessing = Preprocessing(mode=mode, mean=(), std=())  # type: ignore[arg-type]


def named_here(document: Certificate | Statement, registry: ModelRegistry) -> Path | None:
    """The folder of the model that a document names; None if none here has its name and weights.

    The name comes from a stranger: it is looked up in the registry, never as a path.
    """
    name, weights = document.model.name, document.model.sha256
    try:
        return registry.folder(name) if registry.card(name).weights_sha256 == weights else None
    except (UnknownModel, BadCheckpoint):
        return None


def _given(
    certificate: Certificate, image: Any, model: "str | Path | SmoothedClassifier | None", replay: bool
) -> Iterator[Check]:
    registry, meant = ModelRegistry(models_folder(BUNDLED)), replay or model is not None
    if model is None:
        model = named_here(certificate, registry)
    if model is None and replay:
        model = registry.folder(certificate.model.name)  # unknown, or it has other weights
    card = None if model is None else _card_of(model, registry)
    if card is not None:
        yield from check_model(certificate, card) if meant else check_named(certificate, card)
    if image is None:
        return
    try:
        pixels = certified_image(image, card or Pixels(certificate))
    except BadImage as error:
        raise BadImage(f"The image to compare: {error}") from error
    yield check_input(certificate, pixels.digest, "the given image")
    if replay:
        assert model is not None
        yield from check_votes(certificate, pixels, partial(_engine_for, certificate, model))


def _card_of(model: "str | Path | SmoothedClassifier", registry: ModelRegistry) -> ModelCard:
    if not isinstance(model, str | Path):
        return model.card
    return registry.find(model)[1]


def check_votes(
    certificate: Certificate, image: CertifiedImage, build_engine: "Callable[[], Engine | AsGivenEngine]"
) -> Iterator[Check]:
    """Redraw every vote from the seed and compare the counts.

    build_engine: the engine that the certificate names; may raise InvalidRequest, which fails the check.
    """
    from smoothcert.noise.grid import parse_seed  # noqa: PLC0415  # loads torch

    try:
        engine = build_engine()
    except InvalidRequest as error:
        yield Check("engine", False, str(error).removesuffix("."))
        return
    same_engine = engine.description == certificate.engine
    differs = "" if same_engine else "; but the engine here is another one"
    source = engine.sampler(image.to_array(), certificate.sigma, parse_seed(certificate.seed))
    selection = 0 if certificate.procedure == "predict" else certificate.n0
    for field, votes, claimed in (
        ("selection_counts", VoteRange("selection", 0, selection), certificate.selection_counts),
        ("counts", VoteRange("estimation", 0, certificate.n), certificate.counts),
    ):
        drawn = source.count(votes).tolist()
        yield Check(field, drawn == claimed, f"redrawn from the seed they are {drawn}{differs}")
    yield Check("seed", True, "")
    if same_engine:
        yield Check("engine", True, "")


def _engine_for(
    certificate: Certificate, model: "str | Path | SmoothedClassifier"
) -> "Engine | AsGivenEngine":
    """The engine that the certificate names, built for this model. Raises InvalidRequest."""
    from smoothcert.classifier import SmoothedClassifier  # noqa: PLC0415
    from smoothcert.engines.config import EngineConfig  # noqa: PLC0415

    if certificate.model.opaque and not isinstance(model, SmoothedClassifier):
        raise InvalidRequest(
            f"only the classifier's owner can redraw these votes: {certificate.model.opaque}"
        )
    if isinstance(model, SmoothedClassifier):
        return model.engine_for(certificate.engine)
    return SmoothedClassifier.load(model, str(EngineConfig.of(certificate.engine))).engine
