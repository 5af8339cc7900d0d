"""What can be checked of a certificate beyond its own figures: its network, image and votes."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from smoothcert.cli.checkpoints import Checkpoint, build_engine, find_checkpoint
from smoothcert.cli.images import read_file, read_up_to
from smoothcert.cli.settings import settings
from smoothcert.errors import InternalError, InvalidRequest, NotACertificate, UnknownModel
from smoothcert.images.decode import read_image
from smoothcert.images.pixels import CertifiedImage
from smoothcert.schemas.card import INT8, ModelCard, Preprocessing
from smoothcert.schemas.certificate import Certificate, Shape
from smoothcert.schemas.reading import MOST_BYTES, Received, read_document
from smoothcert.stats.verify import Check
from smoothcert.votes import VoteRange

# What no figure follows from: confirmed by the model, the image, a replay, or by whoever signs.
PREMISES = "sigma", "selection_counts", "counts", "model", "label", "input", "seed", "engine", "issued_at"


def read_certificate(path: Path) -> Received:
    """A certificate's document.

    Raises InternalError naming the field where it is none, InvalidRequest: unreadable.
    """
    if path.is_dir():
        raise InternalError(f"{path} is not a certificate: it is a directory.")
    try:
        return read_document(read_up_to(path, MOST_BYTES + 1))
    except NotACertificate as error:
        raise InternalError(f"{path} is not a certificate: {error}.") from error


def senders_word(received: Received, checked: Collection[str]) -> list[str]:
    """The fields that nothing here confirms: who signs vouches for them, or nobody."""
    absent = {"label"} if received.certificate.label is None else set()
    return [name for name in PREMISES if name not in absent.union(checked)] + received.unknown


def check_evidence(
    certificate: Certificate, model: str | None, image: Path | None, replay: bool
) -> Iterator[Check]:
    """Checks against what the verifier has: the model, the image, the votes redrawn.

    Raises InvalidRequest.
    """
    if replay and image is None:
        raise InvalidRequest("--replay needs the image that was certified: give it with --image.")
    checkpoint = _find(certificate, model, needed=replay)
    if checkpoint:
        yield from check_model(certificate, checkpoint, meant=replay or model is not None)
    if image is None:
        return
    certified = read_image(read_file(image), checkpoint.card if checkpoint else Pixels.of(certificate))
    made, claimed = certified.digest, certificate.input
    same = (made.shape, made.sha256) == (claimed.shape, claimed.sha256)
    yield Check("input", same, f"the pixels of {image} are others")
    if checkpoint and replay:
        yield from check_votes(certificate, checkpoint, certified)


@dataclass(frozen=True)
class Pixels:
    """What is known of an image's preparation when its model isn't here: the shape it came to."""

    input_shape: Shape
    preprocessing: Preprocessing

    @classmethod
    def of(cls, certificate: Certificate) -> "Pixels":
        shape = certificate.input.shape
        return cls(shape, Preprocessing(mode="L" if shape[0] == 1 else "RGB", mean=(), std=()))


def _find(certificate: Certificate, model: str | None, *, needed: bool) -> Checkpoint | None:
    """The model that is meant. The name a document gives is looked up in the catalogue, never as a folder."""
    if model:
        return find_checkpoint(model)
    name, catalogue = certificate.model.name, settings().catalogue
    try:
        return Checkpoint(catalogue.folder(name), catalogue.card(name))
    except UnknownModel:
        if needed:
            raise
        return None


def check_model(certificate: Certificate, checkpoint: Checkpoint, *, meant: bool) -> Iterator[Check]:
    """Whether the network here voted, and what its card says of noise, picture and classes.

    Where it is not `meant`, but only goes by the same name here, it may be another: then nothing is compared.
    """
    card = checkpoint.card
    same_weights = certificate.model.sha256 == card.weights_sha256
    differing = _difference(certificate, card)
    if meant or not differing:
        yield Check("model", not differing, f"the {differing} of {card.name} here differ")
    if not meant and not same_weights:
        return
    names = {card.name, checkpoint.folder.resolve().name}
    if certificate.model.name not in names:
        yield Check("model", False, f"it names {certificate.model.name}, not {card.name}")
    yield Check("sigma", certificate.sigma == card.sigma, f"{card.name} is certified at {card.sigma:g}")
    shape = "x".join(map(str, card.input_shape))
    if certificate.input.shape != card.input_shape:
        yield Check("input.shape", False, f"{card.name} takes {shape}")
    if len(certificate.counts) != len(card.labels):
        yield Check("counts", False, f"{card.name} has {len(card.labels)} classes")
    yield check_label(certificate, card)


def _difference(certificate: Certificate, card: ModelCard) -> str:
    """What of the network here is not that of the one that voted; empty when nothing is.

    The oldest certificates name the weights only. In int8 these are not the classifier, whose rounding
    nothing else names.
    """
    voted, rounds = certificate.model, certificate.engine.precision == INT8
    if voted.sha256 != card.weights_sha256:
        return "weights"
    here = card.classifier_sha256_in(certificate.engine.precision)
    if voted.classifier_sha256 in ({here} if rounds else {None, here}):
        return ""
    return f"architecture or normalisation{' or int8 rounding' if rounds else ''}"


def check_label(certificate: Certificate, card: ModelCard) -> Check:
    """Whether the class has the name that the model's card gives it: the name is what people read."""
    k = certificate.predicted_class
    label = card.labels[k] if k is not None and 0 <= k < len(card.labels) else None
    return Check("label", certificate.label == label, f"{card.name} calls class {k} {label!r}")


def check_votes(certificate: Certificate, checkpoint: Checkpoint, image: CertifiedImage) -> Iterator[Check]:
    """Redraw every vote from the seed, with the set-up the certificate names, and compare the counts."""
    from smoothcert.engines.config import EngineConfig
    from smoothcert.noise.streams import parse_seed

    try:
        engine = build_engine(checkpoint, str(EngineConfig.of(certificate.engine)))
    except InvalidRequest as error:
        yield Check("engine", False, str(error).removesuffix("."))
        return
    same_engine = engine.description == certificate.engine
    differs = "" if same_engine else "; but the engine here is another one"
    source = engine.sampler(image.to_array(), certificate.sigma, parse_seed(certificate.seed))
    selection = 0 if certificate.procedure == "predict" else certificate.n0
    for field, stage, n, claimed in (
        ("selection_counts", "selection", selection, certificate.selection_counts),
        ("counts", "estimation", certificate.n, certificate.counts),
    ):
        drawn = source.count(VoteRange(stage, 0, n)).tolist()  # type: ignore[arg-type]
        yield Check(field, drawn == claimed, f"redrawn from the seed they are {drawn}{differs}")
    yield Check("seed", True, "")
    if same_engine:
        yield Check("engine", True, "")
