"""smoothcert evaluate: certify a data set's images and log every one."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from smoothcert.cli.asking import (
    N0,
    Alpha,
    Dataset,
    EngineConfig,
    N,
    Procedure,
    TargetRadius,
    Tolerance,
    given,
    parameters,
)
from smoothcert.cli.output import check_out, show


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
    setup: EngineConfig = None,
    workers: Annotated[
        bool, typer.Option("--workers", help="By the workers of SMOOTHCERT_REDIS_URL, not by this process.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a log after a kill.")] = False,
    update_card: Annotated[
        bool, typer.Option("--update-card", help="Write the figures into the card.")
    ] = False,
) -> None:
    """Certify a data set's images into a log.

    Each row carries its evidence, and a killed run continues with --resume without repeating an image.
    With --workers each image is a job of theirs; the rows are the same.
    """
    from smoothcert.cli.checkpoints import find_checkpoint
    from smoothcert.cli.evaluating import Selection, run_evaluation
    from training.report import DEFAULT_RADII, parse_radii, to_markdown
    from training.summary import summarize

    check_out(out)
    checkpoint = find_checkpoint(model)
    options = given(
        n=n, n0=n0, alpha=alpha, procedure=procedure, target_radius=target_radius, tolerance=tolerance
    )
    asked = parameters(options, checkpoint.card.sigma)
    selection = Selection(dataset, split, data_root, every, limit)
    outcome = run_evaluation(
        *(checkpoint, asked, selection, out),
        seed=seed,
        setup=setup,
        resume=resume,
        workers=workers,
        update_card=update_card,
    )
    show(to_markdown([summarize(outcome.log, parse_radii(DEFAULT_RADII))]))
