"""smoothcert verify: check a certificate against its counts, model, image, votes and signature."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoothcert.cli.output import show
from smoothcert.errors import InternalError, InvalidRequest, NotACertificate, UnknownModel

if TYPE_CHECKING:
    from smoothcert.cli.checkpoints import Checkpoint
    from smoothcert.images.pixels import CertifiedImage
    from smoothcert.schemas.card import ModelCard, Preprocessing
    from smoothcert.schemas.certificate import Certificate, PublicKeys, Shape, Signature
    from smoothcert.schemas.json_text import Document
    from smoothcert.schemas.reading import Received
    from smoothcert.stats.verify import Check


def verify(
    certificate: Annotated[
        Path, typer.Argument(metavar="CERT.json", help="As certify --out or a service wrote it.")
    ],
    *,
    image: Annotated[Path | None, typer.Option(help="The image it is about, to compare the pixels.")] = None,
    replay: Annotated[bool, typer.Option("--replay", help="Redraw every vote from the seed.")] = False,
    model: Annotated[
        str | None, typer.Option(help="The model as a name or folder; else the one the certificate names.")
    ] = None,
    public_key: Annotated[
        Path | None,
        typer.Option(metavar="KEYS.json", help="Whose signature is wanted, as a JSON web key set."),
    ] = None,
    url: Annotated[str | None, typer.Option(help="Take the keys of this service instead.")] = None,
) -> None:
    """Check whether a certificate holds.

    Its figures are recomputed from its counts. Image, model, votes and signature are compared if given.
    Exits with 1 if it does not hold, naming the wrong field.
    """
    from smoothcert.stats.verify import verify as recompute

    received = read_certificate(certificate)
    claimed = received.certificate
    keys = trusted_keys(public_key, url) if public_key or url else None
    signed = [check_signature(received.document, keys)] if keys else []
    checked = []
    for check in chain(recompute(claimed).checks, check_against(claimed, model, image, replay), signed):
        if not check.holds:
            raise InternalError(f"{certificate} is refused: {check.field}: {check.reason}.")
        checked.append(check.field)
    redrawn = ", every vote redrawn" if replay else ""
    show(f"{certificate} holds: checked {', '.join(dict.fromkeys(checked))}{redrawn}")
    if "model" not in checked:
        show("not compared with a model; --model does that")
    if image is None:
        show("not compared with an image; --image does that")
    if keys is None:
        _print_unverified(claimed.signature, unverified_fields(received, checked))


def _print_unverified(signature: Signature | None, fields: list[str]) -> None:
    """Print the fields that no check has confirmed, and that no signature was checked."""
    if signature:
        show(f"signed by {signature.key_id}, which was not checked; --public-key or --url does that")
    who = "an unchecked signature's" if signature else "unsigned, so only its sender's"
    show(f"{who} word: {', '.join(fields)}")


# Fields that do not follow from others: only the model, the image, a replay or a signature confirms them.
PREMISES = "sigma", "selection_counts", "counts", "model", "label", "input", "seed", "engine", "issued_at"


def read_certificate(path: Path) -> Received:
    """Read a certificate file.

    Raises InternalError: not a certificate, naming the field; InvalidRequest: unreadable.
    """
    from smoothcert.cli.options import read_up_to
    from smoothcert.schemas.json_text import MAX_BYTES
    from smoothcert.schemas.reading import read_document

    if path.is_dir():
        raise InternalError(f"{path} is not a certificate: it is a directory.")
    try:
        return read_document(read_up_to(path, MAX_BYTES + 1))
    except NotACertificate as error:
        raise InternalError(f"{path} is not a certificate: {error}.") from error


def unverified_fields(received: Received, checked: Collection[str]) -> list[str]:
    """The fields that no check has confirmed; only a signature can vouch for them."""
    absent = {"label"} if received.certificate.label is None else set()
    return [name for name in PREMISES if name not in absent.union(checked)] + received.unknown


def check_against(
    certificate: Certificate, model: str | None, image: Path | None, replay: bool
) -> Iterator[Check]:
    """Checks against the model, the image and redrawn votes.

    Raises InvalidRequest.
    """
    from smoothcert.cli.options import read_file
    from smoothcert.images.decode import read_image
    from smoothcert.stats.verify import Check

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
    """How to decode the image if its model is not here: by the shape in the certificate."""

    input_shape: Shape
    preprocessing: Preprocessing

    @classmethod
    def of(cls, certificate: Certificate) -> Pixels:
        from smoothcert.schemas.card import Preprocessing

        shape = certificate.input.shape
        return cls(shape, Preprocessing(mode="L" if shape[0] == 1 else "RGB", mean=(), std=()))


def _find(certificate: Certificate, model: str | None, *, needed: bool) -> Checkpoint | None:
    """The model to compare with. A name from a document is looked up in the registry, never as a path."""
    from smoothcert.cli.checkpoints import Checkpoint, find_checkpoint
    from smoothcert.cli.settings import settings

    if model:
        return find_checkpoint(model)
    name, registry = certificate.model.name, settings().registry
    try:
        return Checkpoint(registry.folder(name), registry.card(name))
    except UnknownModel:
        if needed:
            raise
        return None


def check_model(certificate: Certificate, checkpoint: Checkpoint, *, meant: bool) -> Iterator[Check]:
    """Compare digests of the network, and its card: sigma, input shape, classes, label.

    Unless `meant`, a model with the same name but other weights may be another one: then nothing is compared.
    """
    from smoothcert.stats.verify import Check

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
    """What differs between the network here and the one in the certificate; empty if nothing does.

    Old certificates name only the weights, which is not enough in int8: the rounding is part of the
    classifier.
    """
    from smoothcert.schemas.card import INT8

    voted, rounds = certificate.model, certificate.engine.precision == INT8
    if voted.sha256 != card.weights_sha256:
        return "weights"
    here = card.classifier_sha256_in(certificate.engine.precision)
    if voted.classifier_sha256 in ({here} if rounds else {None, here}):
        return ""
    return f"architecture or normalisation{' or int8 rounding' if rounds else ''}"


def check_label(certificate: Certificate, card: ModelCard) -> Check:
    """Whether the label is the one that the card gives the class."""
    from smoothcert.stats.verify import Check

    k = certificate.predicted_class
    label = card.labels[k] if k is not None and 0 <= k < len(card.labels) else None
    return Check("label", certificate.label == label, f"{card.name} calls class {k} {label!r}")


def check_votes(certificate: Certificate, checkpoint: Checkpoint, image: CertifiedImage) -> Iterator[Check]:
    """Redraw every vote from the seed, with the engine that the certificate names; compare the counts."""
    from smoothcert.cli.checkpoints import build_engine
    from smoothcert.engines.config import EngineConfig
    from smoothcert.noise.streams import parse_seed
    from smoothcert.stats.verify import Check
    from smoothcert.votes import VoteRange

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


def trusted_keys(public_key: Path | None, url: str | None) -> PublicKeys | None:
    """The keys of a file or of a service; None if neither is given.

    Raises InvalidRequest, InternalError.
    """
    from smoothcert.cli.settings import settings
    from smoothcert.client import Client
    from smoothcert.schemas.certificate import PublicKeys

    if public_key is not None:
        return PublicKeys.read(public_key)
    if url is not None:
        with Client(url, settings().bearer) as client:
            return client.signing_keys()
    return None


def check_signature(document: Document, keys: PublicKeys) -> Check:
    """Whether one of these keys signed this document."""
    from smoothcert.signing import signature_problem
    from smoothcert.stats.verify import Check

    wrong = signature_problem(document, keys)
    return Check("signature", wrong is None, wrong or "")
