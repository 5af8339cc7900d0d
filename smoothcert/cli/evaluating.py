"""What `smoothcert evaluate` does, from its options to the rows of the log."""

import secrets
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from smoothcert.cli.checkpoints import Checkpoint, build_engine, fastest_setup, good_setup
from smoothcert.cli.fanout import FanOut, Workers
from smoothcert.cli.output import note
from smoothcert.cli.progress import Update, progress_bar
from smoothcert.cli.settings import settings
from smoothcert.engines.config import EngineConfig
from smoothcert.errors import InvalidRequest
from smoothcert.files import shown
from smoothcert.jobs.broker import broker_url
from smoothcert.schemas.card import INT8, ModelCard
from smoothcert.schemas.feasibility import refuse_impossible
from smoothcert.schemas.parameters import Parameters
from training.datasets import FOLDER, ImageSet, load_dataset
from training.evaluate import Step, evaluate, wanted
from training.journal import Journal, Run, read_run
from training.log import Log, Row
from training.measurement import check_card, record_in_card

SEED_BITS = 64
WORTH_MEASURING = 2_000_000  # votes; fewer are drawn sooner than the set-ups are measured


@dataclass(frozen=True)
class Selection:
    """Which images: every K-th of a split, at most `limit` of them."""

    dataset: str
    split: Literal["train", "test"]
    data_root: Path
    every: int
    limit: int | None


@dataclass(frozen=True)
class Outcome:
    """What was asked, and the log as it stands now."""

    run: Run
    log: Log


def run_evaluation(
    checkpoint: Checkpoint,
    asked: Parameters,
    selection: Selection,
    out: Path,
    *,
    seed: int | None,
    setup: str | None,
    resume: bool,
    workers: bool = False,
    update_card: bool = False,
) -> Outcome:
    """Certify what the log doesn't hold yet, here or by a broker's workers, and write the figures into the
    card if that is wanted. Mistakes are told before the first vote."""
    refuse_impossible(asked)
    if update_card:
        check_card(checkpoint.folder, selection.dataset)
    images = load_images(checkpoint, selection)
    kept = read_run(out) if resume else None
    asked_workers = _workers(checkpoint) if workers else None
    if asked_workers and kept is None and setup is None and settings().setup is None:
        setup = asked_workers.setup(images, asked)
    run = describe_run(checkpoint, asked, selection, images, kept=kept, seed=seed, setup=setup)
    indices = wanted(len(images), run.every, selection.limit)
    if update_card and not indices:
        raise InvalidRequest(
            "--update-card: no image is to be certified, so there is no figure for the card."
        )
    with Journal(out, run, resume=resume) as journal:
        done = {row.idx for row in journal.rows}
        rest = [idx for idx in indices if idx not in done]
        if asked_workers:
            steps = FanOut(asked_workers, images, run).steps(rest)
        else:
            steps = _here(checkpoint, images, run, rest)
        rows = _write(steps, journal, len(indices))
    if update_card:
        record_in_card(checkpoint.folder, rows, run)
    return Outcome(run, Log(shown(out), tuple(rows), of=run.split_images))


def load_images(checkpoint: Checkpoint, selection: Selection) -> ImageSet:
    """The split to certify. Raises InvalidRequest when it isn't made of what the model takes."""
    card = checkpoint.card
    size = card.input_shape[1] if selection.dataset.startswith("folder:") else None
    images = load_dataset(selection.dataset, selection.split, selection.data_root, size=size, stream=True)
    if images.summary:
        note(images.summary)
    if not len(images):
        raise InvalidRequest(f"{selection.dataset} has no {selection.split} images.")
    if tuple(images.images_u8.shape[1:]) != card.input_shape:
        shape = "x".join(map(str, images.images_u8.shape[1:]))
        wants = "x".join(map(str, card.input_shape))
        raise InvalidRequest(f"{selection.dataset} has {shape} images and {card.name} takes {wants} ones.")
    if len(images.class_names) != len(card.labels):
        raise InvalidRequest(
            f"{selection.dataset} has {len(images.class_names)} classes and {card.name} {len(card.labels)}."
        )
    _check_labels(selection.dataset, images, card)
    return images


def _check_labels(dataset: str, images: ImageSet, card: ModelCard) -> None:
    """A model of a folder answers with its classes. Other models may have names of their own for them."""
    if not dataset.startswith(FOLDER) or card.dataset != FOLDER.removesuffix(":"):
        return
    for here, known in zip(images.class_names, card.labels, strict=True):
        if here != unicodedata.normalize("NFC", known):
            raise InvalidRequest(f"{dataset} has a class {here!r} where {card.name} has {known!r}.")


def describe_run(
    checkpoint: Checkpoint,
    asked: Parameters,
    selection: Selection,
    images: ImageSet,
    *,
    kept: Run | None,
    seed: int | None,
    setup: str | None,
) -> Run:
    """The run asked for. A run that is continued keeps the seed and the set-up that nobody named again."""
    if seed is None:
        seed = kept.seed if kept else secrets.randbits(SEED_BITS)
    if setup is None:
        votes = asked.n * len(wanted(len(images), selection.every, selection.limit))
        setup = kept.setup if kept else settings().setup or _choose_setup(checkpoint, votes)
    return Run(
        model=checkpoint.card.name,
        weights_sha256=checkpoint.card.weights_sha256,
        dataset=shown(selection.dataset),
        split=selection.split,
        split_images=len(images),
        data_sha256=images.listing,
        every=selection.every,
        seed=seed,
        setup=setup,
        int8_sha256=_int8_sha256(checkpoint.card, setup),
        **asked.model_dump(),
    )


def _int8_sha256(card: ModelCard, setup: str) -> str | None:
    return card.int8.sha256 if card.int8 and EngineConfig.parse(setup).precision == INT8 else None


def _choose_setup(checkpoint: Checkpoint, votes: int) -> str:
    return str(fastest_setup(checkpoint) if votes >= WORTH_MEASURING else good_setup(checkpoint))


def _workers(checkpoint: Checkpoint) -> Workers:
    config = settings()
    if config.redis_url is None:
        raise InvalidRequest("--workers needs their broker: set SMOOTHCERT_REDIS_URL to its address.")
    url = broker_url(config.redis_url.get_secret_value(), config.redis_password_file)
    return Workers.of(url, checkpoint.card)


def _here(checkpoint: Checkpoint, images: ImageSet, run: Run, rest: Sequence[int]) -> Iterator[Step]:
    if rest:
        yield from evaluate(build_engine(checkpoint, run.setup), images, run, rest, done=())


def _write(steps: Iterator[Step], journal: Journal, of: int) -> Sequence[Row]:
    rows = list(journal.rows)
    with progress_bar("images") as update:
        for step in steps:
            if step.row is not None:
                journal.append(step.row)
                rows.append(step.row)
            _advance(update, step, len(rows), of)
    return rows


def _advance(update: Update, step: Step, rows: int, of: int) -> None:
    under_way = 0.0 if step.row else step.votes / step.of
    update(rows + under_way, of, f"image {step.idx}")
