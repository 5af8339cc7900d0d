"""What can be checked of a certificate beyond its own figures: its network, image and votes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from certification.contract.card import INT8, ModelCard, Preprocessing
from certification.contract.certificate import Certificate, Shape
from certification.contract.images import read_image
from certification.contract.pixels import CertifiedImage
from certification.errors import UnknownModel, UserMistake
from certification.verify import Check
from certification.votes import VoteRange
from smoothcert.checkpoints import Checkpoint, build_engine, find_checkpoint
from smoothcert.images import read_file


def read_certificate(path: Path) -> Certificate:
    """A certificate's document. Raises UserMistake."""
    try:
        return Certificate.model_validate_json(read_file(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UserMistake(f"{path} is not a certificate: {where}: {first['msg']}.") from error


def check_evidence(
    certificate: Certificate, model: str | None, image: Path | None, replay: bool
) -> Iterator[Check]:
    """Checks against what the verifier has: the model, the image, the votes redrawn. Raises UserMistake."""
    if replay and image is None:
        raise UserMistake("--replay needs the image that was certified: give it with --image.")
    checkpoint = _find(certificate, model, needed=replay)
    if checkpoint and (model or replay):
        yield check_model(certificate, checkpoint.card)
    if checkpoint and checkpoint.card.weights_sha256 == certificate.model.sha256:
        yield check_label(certificate, checkpoint.card)
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
    try:
        return find_checkpoint(model or certificate.model.name)
    except UnknownModel:
        if model or needed:
            raise
        return None


def check_model(certificate: Certificate, card: ModelCard) -> Check:
    """Whether the network here is the one that voted: its weights, and what its card says of it.

    The oldest certificates name the weights only. In int8 these are not the classifier, whose rounding
    nothing else names.
    """
    voted, same_weights = certificate.model, certificate.model.sha256 == card.weights_sha256
    rounds = certificate.engine.precision == INT8
    here = card.classifier_sha256_in(certificate.engine.precision)
    same = same_weights and voted.classifier_sha256 in ({here} if rounds else {None, here})
    rounded = " or int8 rounding" if rounds else ""
    what = f"architecture or normalisation{rounded}" if same_weights else "weights"
    return Check("model", same, f"the {what} of {card.name} here differ")


def check_label(certificate: Certificate, card: ModelCard) -> Check:
    """Whether the class has the name that the model's card gives it: the name is what people read."""
    k = certificate.predicted_class
    label = card.labels[k] if k is not None and 0 <= k < len(card.labels) else None
    return Check("label", certificate.label == label, f"{card.name} calls class {k} {label!r}")


def check_votes(certificate: Certificate, checkpoint: Checkpoint, image: CertifiedImage) -> Iterator[Check]:
    """Redraw every vote from the seed, with the set-up the certificate names, and compare the counts."""
    from certification.setup import Setup
    from certification.streams import parse_seed

    engine = build_engine(checkpoint, str(Setup.of(certificate.engine)))
    differs = "" if engine.description == certificate.engine else "; but the engine here is another one"
    source = engine.sampler(image.to_array(), certificate.sigma, parse_seed(certificate.seed))
    selection = 0 if certificate.procedure == "predict" else certificate.n0
    for field, stage, n, claimed in (
        ("selection_counts", "selection", selection, certificate.selection_counts),
        ("counts", "estimation", certificate.n, certificate.counts),
    ):
        drawn = source.count(VoteRange(stage, 0, n)).tolist()  # type: ignore[arg-type]
        yield Check(field, drawn == claimed, f"redrawn from the seed they are {drawn}{differs}")
