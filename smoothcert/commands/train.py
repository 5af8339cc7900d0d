"""smoothcert train: a base classifier by one of the published methods."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from smoothcert.output import show
from smoothcert.progress import progress_bar

if TYPE_CHECKING:
    from training.session import Session

METHOD_OPTIONS = {"allow_extra_args": True, "ignore_unknown_options": True}  # the method's own fields


def train(
    context: typer.Context,
    method: Annotated[str, typer.Argument(help="gaussian, stability, consistency, smoothadv, ...")],
    *,
    dataset: Annotated[str, typer.Option(help="mnist, fashion-mnist, cifar10 or folder:PATH.")],
    sigma: Annotated[float, typer.Option(help="Noise level, pixels in [0,1].")],
    arch: Annotated[
        str | None, typer.Option(help="Network; else the one published for the data set.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Else as published; the learning rate drops in proportion.")
    ] = None,
    data_root: Annotated[Path, typer.Option(help="Where torchvision's files lie.")] = Path("data"),
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The checkpoint folder.  [default: runs/NAME]")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run after a kill.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, order and noise.")] = 0,
    size: Annotated[int | None, typer.Option(min=1, help="Side of a folder's images, in pixels.")] = None,
    precision: Annotated[Literal["bfloat16", "float32"], typer.Option(help="Of autocast.")] = "bfloat16",
) -> None:
    """Train a base classifier.

    Options of the method itself, as `--weight` of consistency, are given as --NAME VALUE. They start from
    what is published for the data set. One that the method doesn't have is answered with those it has.
    """
    import torch

    from training.datasets import load_dataset
    from training.export import run_name
    from training.options import build_recipe, parse_options
    from training.session import Session
    from training.trainer import Trainer

    options = parse_options(method, context.args)
    images = load_dataset(dataset, "train", data_root, size=size)
    recipe = build_recipe(
        *(method, dataset, sigma),
        options=options,
        channels=images.input_shape[0],
        arch=arch,
        epochs=epochs,
        seed=seed,
        precision=precision,
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    session = Session(Trainer(recipe, images, device), out or Path("runs") / run_name(recipe), resume=resume)
    _run(session)
    card = session.export()
    show(f"{card.name}: {session.folder}, loss {card.training['final_loss']}, {card.training['seconds']} s")


def _run(session: "Session") -> None:
    trainer = session.trainer
    per_epoch, epochs = trainer.steps_per_epoch, trainer.recipe.schedule.epochs
    with progress_bar("steps") as update:
        for position in session.train():
            loss = f"loss {trainer.records[-1].loss:.3f}" if trainer.records else ""
            said = f"epoch {position.epoch + 1} of {epochs} {loss}"
            update(position.epoch * per_epoch + position.step, epochs * per_epoch, said)
