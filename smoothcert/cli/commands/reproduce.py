"""smoothcert reproduce: the tables and figures of the paper, measured beside published."""

from pathlib import Path
from typing import Annotated

import typer

from smoothcert.cli.fitting import PRECISION, AskedPrecision, wait_asleep
from smoothcert.cli.output import show
from smoothcert.errors import InvalidRequest


def reproduce(
    name: Annotated[str | None, typer.Argument(help="table1, figure2, ...; --list names them all.")] = None,
    *,
    list_all: Annotated[bool, typer.Option("--list", help="Name the experiments.")] = False,
    data_root: Annotated[Path, typer.Option(help="Where torchvision's files lie.")] = Path("data"),
    out: Annotated[Path, typer.Option(metavar="DIR", help="Logs and plots; checkpoints below it.")] = Path(
        "runs/reproduce"
    ),
    scale: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the published epochs to train for.")
    ] = 1.0,
    every: Annotated[
        int | None, typer.Option(min=1, help="Every K-th test image.  [default: the experiment's]")
    ] = None,
    n: Annotated[int | None, typer.Option("--n", help="Estimation votes.  [default: 100000]")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Only models whose name has this in it; may be repeated.")
    ] = None,
    train: Annotated[bool, typer.Option(help="Train what has no checkpoint.")] = True,
    evaluate: Annotated[bool, typer.Option(help="Certify what has no rows yet.")] = True,
    image: Annotated[int, typer.Option(min=0, help="The test image of figure1.")] = 0,
    precision: Annotated[AskedPrecision, typer.Option(help=PRECISION)] = "auto",
) -> None:
    """Reproduce a table or figure of the paper.

    Bundled checkpoints, and those of an earlier call, are used; what is missing is trained, everything is
    certified into logs that a later call continues, and the figures stand beside the published ones.
    """
    wait_asleep()
    from training.experiments import EXPERIMENTS, find_experiment

    if list_all:
        show("\n".join(f"{one.name:18}{one.title}" for one in EXPERIMENTS.values()))
        return
    if name is None:
        raise InvalidRequest("Which experiment? --list names them.")
    if scale == 0:
        raise InvalidRequest("--scale 0 trains nothing; --no-train leaves out what has no checkpoint.")
    experiment = find_experiment(name).only(only or [])
    if not experiment.arms:
        raise InvalidRequest(f"{name} has no model with {' or '.join(only or [])} in its name.")
    from smoothcert.cli.reproducing import Bench
    from smoothcert.cli.reproducing import reproduce as run

    bench = Bench(data_root, out, scale, every or experiment.every, n, train, evaluate, image, precision)
    show(run(experiment, bench))
