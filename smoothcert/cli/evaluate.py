"""smoothcert evaluate: certify a data set's images and log every one."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from smoothcert.cli.checkpoints import Selection, find_checkpoint, load_images
from smoothcert.cli.options import (
    N0,
    Alpha,
    Dataset,
    EngineOption,
    N,
    Procedure,
    TargetRadius,
    Tolerance,
    given,
    parameters,
)
from smoothcert.cli.output import check_out, show
from smoothcert.errors import InvalidRequest
from smoothcert.files import shown
from smoothcert.progress import Update, progress_bar

if TYPE_CHECKING:
    from smoothcert.cli.checkpoints import Checkpoint
    from smoothcert.cli.fanout import Workers
    from smoothcert.schemas.card import ModelCard
    from smoothcert.schemas.evaluation_log import Log, Row
    from smoothcert.schemas.evaluation_run import EvaluationRun
    from smoothcert.schemas.parameters import Parameters
    from training.datasets.image_set import ImageSet
    from training.evaluation import EvaluationProgress, LogWriter


def evaluate(
    model: Annotated[str, typer.Argument(help="A bundled name or a checkpoint folder.")],
    *,
    dataset: Dataset,
    out: Annotated[Path, typer.Option(metavar="LOG", help="The log, one line an image.")],
    split: Annotated[Literal["train", "test"], typer.Option(help="Of the data set.")] = "test",
    data_root: Annotated[Path, typer.Option(help="Where torchvision's files lie.")] = Path("data"),
    every: Annotated[int, typer.Option(min=1, help="Every K-th image: 0, K, 2K, ...")] = 1,
    limit: Annotated[int | None, typer.Option(min=0, help="Certify this many images at most.")] = None,
    n: N = None,
    n0: N0 = None,
    alpha: Alpha = None,
    procedure: Procedure = "certify",
    target_radius: TargetRadius = None,
    tolerance: Tolerance = None,
    seed: Annotated[int | None, typer.Option(help="Of the whole run; random unless given.")] = None,
    engine: EngineOption = None,
    workers: Annotated[
        bool, typer.Option("--workers", help="By the workers of SMOOTHCERT_REDIS_URL, not by this process.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a log after a kill.")] = False,
    skip_wrong: Annotated[
        bool, typer.Option("--skip-wrong", help="No estimation votes where the chosen class is wrong.")
    ] = False,
    update_card: Annotated[
        bool, typer.Option("--update-card", help="Write the figures into the card.")
    ] = False,
) -> None:
    """Certify a data set's images into a log.

    Each row carries its evidence, and a killed run continues with --resume without repeating an image.
    With --workers each image is a job of theirs; the rows are the same. With --skip-wrong, ACR and certified
    accuracy are those of the full run, for as little as half the votes; the abstention rate stays unknown.
    """
    from training.report import DEFAULT_RADII, parse_radii, to_markdown
    from training.summary import summarize

    check_out(out)
    checkpoint = find_checkpoint(model)
    options = given(
        n=n, n0=n0, alpha=alpha, procedure=procedure, target_radius=target_radius, tolerance=tolerance
    )
    request = parameters(options, checkpoint.card.sigma)
    selection = Selection(dataset, split, data_root, every, limit)
    outcome = run_evaluation(
        *(checkpoint, request, selection, out),
        seed=seed,
        engine=engine,
        resume=resume,
        workers=workers,
        update_card=update_card,
        skip_wrong=skip_wrong,
    )
    show(to_markdown([summarize(outcome.log, parse_radii(DEFAULT_RADII))]))


SEED_BITS = 64
WORTH_MEASURING = 2_000_000  # votes; fewer take less time than measuring the engines


@dataclass(frozen=True)
class Outcome:
    """The run and its log."""

    run: EvaluationRun
    log: Log


def run_evaluation(
    checkpoint: Checkpoint,
    request: Parameters,
    selection: Selection,
    out: Path,
    *,
    seed: int | None,
    engine: str | None,
    resume: bool,
    workers: bool = False,
    update_card: bool = False,
    skip_wrong: bool = False,
) -> Outcome:
    """Certify the images that the log lacks, here or by workers.

    update_card: write the figures into the card. skip_wrong: no estimation votes where the chosen class is
    wrong. Raises InvalidRequest before the first vote.
    """
    from smoothcert.cli.fanout import FanOut
    from smoothcert.cli.settings import settings
    from smoothcert.schemas.evaluation_log import Log
    from smoothcert.schemas.evaluation_run import read_run
    from smoothcert.schemas.parameters import refuse_impossible
    from training.evaluation import (
        ROWS,
        LogWriter,
        require_updatable_card,
        selected_indices,
        write_card_figures,
    )

    refuse_impossible(request)
    if skip_wrong:
        _check_skip_wrong(request, workers=workers)
    if update_card:
        require_updatable_card(checkpoint.folder, selection.dataset)
    images = load_images(checkpoint, selection)
    kept = read_run(out) if resume else None
    worker_pool = _workers(checkpoint) if workers else None
    if worker_pool and kept is None and engine is None and settings().setup is None:
        engine = worker_pool.engine(images, request)
    run = describe_run(checkpoint, request, selection, images, kept=kept, seed=seed, engine=engine)
    run = run.model_copy(update={"skip_wrong": skip_wrong})
    indices = selected_indices(len(images), run.every, selection.limit)
    if update_card and not indices:
        raise InvalidRequest(
            "--update-card: no image is to be certified, so there is no figure for the card."
        )
    with LogWriter(out, run, ROWS, resume=resume) as journal:
        done = {row.idx for row in journal.rows}
        rest = [idx for idx in indices if idx not in done]
        if worker_pool:
            steps = FanOut(worker_pool, images, run).steps(rest)
        else:
            steps = _here(checkpoint, images, run, rest)
        rows = _write(steps, journal, len(indices))
    if update_card:
        write_card_figures(checkpoint.folder, rows, run)
    return Outcome(run, Log(shown(out), tuple(rows), of=run.split_images))


def _check_skip_wrong(request: Parameters, *, workers: bool) -> None:
    if request.procedure != "certify":
        raise InvalidRequest(
            f"--skip-wrong needs --procedure certify, not {request.procedure}: only there an image is lost "
            "once the selection votes name a wrong class."
        )
    if workers:
        raise InvalidRequest("--skip-wrong is for votes drawn here: workers don't know the labels.")


def describe_run(
    checkpoint: Checkpoint,
    request: Parameters,
    selection: Selection,
    images: ImageSet,
    *,
    kept: EvaluationRun | None,
    seed: int | None,
    engine: str | None,
) -> EvaluationRun:
    """The description of the run. A resumed run keeps its seed and engine unless they are given."""
    from smoothcert.cli.settings import settings
    from smoothcert.schemas.evaluation_run import EvaluationRun
    from training.evaluation import selected_indices

    if seed is None:
        seed = kept.seed if kept else secrets.randbits(SEED_BITS)
    if engine is None:
        votes = request.n * len(selected_indices(len(images), selection.every, selection.limit))
        engine = kept.setup if kept else settings().setup or _choose_engine(checkpoint, votes)
    return EvaluationRun(
        model=checkpoint.card.name,
        weights_sha256=checkpoint.card.weights_sha256,
        dataset=shown(selection.dataset),
        split=selection.split,
        split_images=len(images),
        data_sha256=images.listing or images.digest,
        every=selection.every,
        seed=seed,
        setup=engine,
        int8_sha256=_int8_sha256(checkpoint.card, engine),
        **request.model_dump(),
    )


def _int8_sha256(card: ModelCard, engine: str) -> str | None:
    from smoothcert.engines.config import EngineConfig
    from smoothcert.schemas.card import INT8

    return card.int8.sha256 if card.int8 and EngineConfig.parse(engine).precision == INT8 else None


def _choose_engine(checkpoint: Checkpoint, votes: int) -> str:
    from smoothcert.cli.checkpoints import default_engine, fastest_engine

    return str(fastest_engine(checkpoint) if votes >= WORTH_MEASURING else default_engine(checkpoint))


def _workers(checkpoint: Checkpoint) -> Workers:
    from smoothcert.cli.fanout import Workers
    from smoothcert.cli.settings import settings
    from smoothcert.jobs.broker import broker_url

    config = settings()
    if config.redis_url is None:
        raise InvalidRequest("--workers needs their broker: set SMOOTHCERT_REDIS_URL to its address.")
    url = broker_url(config.redis_url.get_secret_value(), config.redis_password_file)
    return Workers.of(url, checkpoint.card)


def _here(
    checkpoint: Checkpoint, images: ImageSet, run: EvaluationRun, rest: Sequence[int]
) -> Iterator[EvaluationProgress]:
    from smoothcert.cli.checkpoints import build_engine
    from training.evaluation import evaluate

    if rest:
        yield from evaluate(build_engine(checkpoint, run.setup), images, run, rest)


def _write(steps: Iterator[EvaluationProgress], journal: LogWriter[Row], of: int) -> Sequence[Row]:
    rows = list(journal.rows)
    with progress_bar("images") as update:
        for step in steps:
            if step.row is not None:
                journal.append(step.row)
                rows.append(step.row)
            _advance(update, step, len(rows), of)
    return rows


def _advance(update: Update, step: EvaluationProgress, rows: int, of: int) -> None:
    under_way = 0.0 if step.row else step.votes / step.of
    update(rows + under_way, of, f"image {step.idx}")
