"""Checks of certificates and statements against what is here: model, image, log, redrawn votes, keys."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from smoothcert.cli.output import note
from smoothcert.errors import InvalidRequest, UnknownModel

if TYPE_CHECKING:
    from smoothcert.cli.checkpoints import Checkpoint
    from smoothcert.engines.engine import Engine
    from smoothcert.schemas.card import ModelCard
    from smoothcert.schemas.certificate import Certificate, PublicKeys
    from smoothcert.schemas.evaluation_log import Log, Row
    from smoothcert.schemas.evaluation_run import EvaluationRun
    from smoothcert.schemas.json_text import Document
    from smoothcert.schemas.statement import Statement
    from smoothcert.stats.verify import Check


def check_against(
    certificate: Certificate, model: str | None, image: Path | None, replay: bool
) -> Iterator[Check]:
    """Checks against the model, the image and redrawn votes. Raises InvalidRequest."""
    from smoothcert.files import read_file
    from smoothcert.images.decode import read_image
    from smoothcert.stats.compare import check_input
    from smoothcert.verification import Pixels, check_votes

    if replay and image is None:
        raise InvalidRequest("--replay needs the image that was certified: give it with --image.")
    checkpoint = _find(certificate, model, needed=replay)
    if checkpoint:
        yield from check_model(certificate, checkpoint, meant=replay or model is not None)
    if image is None:
        return
    certified = read_image(read_file(image), checkpoint.card if checkpoint else Pixels(certificate))
    yield check_input(certificate, certified.digest, str(image))
    if checkpoint and replay:
        yield from check_votes(certificate, certified, partial(_engine_of, certificate, checkpoint))


def _engine_of(certificate: Certificate, checkpoint: Checkpoint) -> Engine:
    """The engine that the certificate names. Raises InvalidRequest."""
    from smoothcert.cli.checkpoints import build_engine
    from smoothcert.engines.config import EngineConfig

    return build_engine(checkpoint, str(EngineConfig.of(certificate.engine)))


def _find(certificate: Certificate, model: str | None, *, needed: bool) -> Checkpoint | None:
    """The model to compare with. A name from a document is looked up in the registry, never as a path."""
    from smoothcert.cli.checkpoints import Checkpoint, find_checkpoint
    from smoothcert.cli.settings import settings
    from smoothcert.verification import named_here

    if model:
        return find_checkpoint(model)
    name, registry = certificate.model.name, settings().registry
    if not needed and named_here(certificate, registry) is None:
        return None
    return Checkpoint(registry.folder(name), registry.card(name))


def check_model(certificate: Certificate, checkpoint: Checkpoint, *, meant: bool) -> Iterator[Check]:
    """Compare digests of the network, its name, and its card; those of a model nobody meant if they match."""
    from smoothcert.stats import compare
    from smoothcert.stats.verify import Check

    card = checkpoint.card
    if not meant:
        yield from compare.check_named(certificate, card)
        return
    names = {card.name, checkpoint.folder.resolve().name}
    if compare.difference(certificate, card) or certificate.model.name in names:
        yield from compare.check_model(certificate, card)
    else:
        yield Check("model", False, f"it names {certificate.model.name}, not {card.name}")


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


def read_evaluation(log: Path) -> tuple[Log, EvaluationRun]:
    """A log and what was asked. Raises InvalidRequest: malformed, unfinished, or without its parameters."""
    from smoothcert.schemas.evaluation_log import read_log
    from smoothcert.schemas.evaluation_run import read_run, run_path

    read, run = read_log(log), read_run(log)
    if run is None:
        raise InvalidRequest(
            f"{log} has no {run_path(log).name} beside it, so which images it is about is unknown."
        )
    if read.torn:
        raise InvalidRequest(f"The last line of {log} was cut short; `evaluate --resume` finishes it.")
    return read, run


def digests(log: Path) -> dict[str, str]:
    """The digests of a log and of the file beside it, by the fields of a statement."""
    from smoothcert.schemas.evaluation_run import run_path

    files = {"log_sha256": log, "run_sha256": run_path(log)}
    return {field: hashlib.sha256(path.read_bytes()).hexdigest() for field, path in files.items()}


def model_of_log(run: EvaluationRun, model: str | None) -> Checkpoint | None:
    """The model of the log, if it is here. Raises InvalidRequest if the one named is another."""
    from smoothcert.cli.checkpoints import Checkpoint, find_checkpoint
    from smoothcert.cli.settings import settings

    if model:
        found = find_checkpoint(model)
        if found.card.weights_sha256 != run.weights_sha256:
            raise InvalidRequest(f"{model} has other weights than those that voted on this log.")
        return found
    models = settings().registry
    try:
        card = models.card(run.model)
    except UnknownModel:
        card = None
    if card and card.weights_sha256 == run.weights_sha256:
        return Checkpoint(models.folder(run.model), card)
    note(f"{run.model} is not here, so its classes have numbers; --model names its folder")
    return None


def slack_of(run: EvaluationRun, card: ModelCard | None) -> float:
    """The noise's own slack; 0 without the model, whose number of pixels is needed."""
    from smoothcert.noise.normal import slack

    return slack(run.sigma, math.prod(card.input_shape)) if card else 0.0


def other_card(run: EvaluationRun, card: ModelCard) -> str | None:
    """What the card says otherwise than the run of its log; None if nothing."""
    if run.sigma != card.sigma:
        return f"{card.name} is certified at sigma {card.sigma:g}, and the log at {run.sigma:g}"
    rounding = card.int8.sha256 if card.int8 else None
    if run.int8_sha256 not in (None, rounding):
        return f"{card.name} has another int8 rounding here than in the log"
    return None


def check_statement(
    statement: Statement, log: Path | None, model: str | None, replay: int | None, data_root: Path
) -> Iterator[Check]:
    """All checks of a statement: alone, with its model if that is here, with its log, and of redrawn rows.

    replay: how many rows, at random. Raises InvalidRequest.
    """
    from smoothcert.stats.compare import check_statement as compare_with_card
    from smoothcert.stats.statement_checks import compare_with_log, verify_statement
    from smoothcert.stats.verify import Check

    yield from verify_statement(statement).checks
    if log is None:
        if replay:
            raise InvalidRequest("--replay of a statement needs its log: give it with --log.")
        alone = _model_of_statement(statement, model)
        yield from compare_with_card(statement, alone) if alone else ()
        return
    read, run = read_evaluation(log)
    yield from compare_with_log(statement, read.rows, run, digests(log), statement.slack).checks
    checkpoint = model_of_log(run, model)
    if checkpoint:
        yield from compare_with_card(statement, checkpoint.card)
        other = other_card(run, checkpoint.card)
        yield Check("log", other is None, other or "")
    if replay:
        if checkpoint is None:
            raise InvalidRequest("--replay needs the model: name its folder with --model.")
        yield from _replayed(read.rows, run, checkpoint, replay, data_root)


def _model_of_statement(statement: Statement, model: str | None) -> ModelCard | None:
    """The card of the model that is meant, else of the one that it names, if that is here."""
    from smoothcert.cli.checkpoints import find_checkpoint
    from smoothcert.cli.settings import settings
    from smoothcert.verification import named_here

    if model:
        return find_checkpoint(model).card
    registry = settings().registry
    return registry.card(statement.model.name) if named_here(statement, registry) else None


def _replayed(
    rows: Sequence[Row], run: EvaluationRun, checkpoint: Checkpoint, most: int, data_root: Path
) -> Iterator[Check]:
    """Redraw the votes of up to `most` rows, chosen at random; compare the data set and all labels."""
    from smoothcert.cli.checkpoints import Selection, build_engine, load_images
    from smoothcert.stats.verify import Check
    from smoothcert.votes import VoteRange

    selection = Selection(run.dataset, run.split, data_root, run.every, None)  # type: ignore[arg-type]
    images = load_images(checkpoint, selection)
    yield Check("data.split_images", len(images) == run.split_images, f"the split here has {len(images)}")
    same = run.data_sha256 in (None, images.listing or images.digest)
    yield Check("data.sha256", same, "the images here are others")
    for row in rows:
        same = int(images.labels[row.idx]) == row.label
        yield Check("log", same, f"image {row.idx} has another label than {row.label} here")
    engine = build_engine(checkpoint, run.setup)
    for row in random.SystemRandom().sample(list(rows), min(most, len(rows))):
        assert row.evidence is not None
        source = engine.sampler(images.images_u8[row.idx].numpy(), run.sigma, int(row.evidence.seed, 16))
        drawn = source.count(VoteRange("estimation", 0, row.evidence.n)).tolist()
        claimed = list(row.evidence.counts)
        yield Check("log", drawn == claimed, f"image {row.idx} redrawn has {drawn}, not {claimed}")
        if row.predict >= 0:
            chosen = int(source.count(VoteRange("selection", 0, run.n0)).argmax())
            yield Check("log", chosen == row.predict, f"image {row.idx} redrawn chooses class {chosen}")
