"""smoothcert train: a base classifier by one of the published methods."""

from pathlib import Path
from typing import Annotated

import typer

from smoothcert.cli.asking import Dataset
from smoothcert.cli.fitting import PRECISION, AskedPrecision, fit, wait_asleep
from smoothcert.cli.output import show

METHOD_OPTIONS = {"allow_extra_args": True, "ignore_unknown_options": True}  # the method's own fields

Arch = Annotated[str | None, typer.Option(help="Network; else the one published for the data set.")]
Epochs = Annotated[
    int | None, typer.Option(min=1, help="Else as published; the learning rate drops in proportion.")
]
Out = Annotated[Path | None, typer.Option(metavar="DIR", help="The checkpoint folder.  [default: runs/NAME]")]
Stream = Annotated[
    bool | None,
    typer.Option(help="Decode a folder's images as they are needed.  [default: if memory is short]"),
]
MicroBatch = Annotated[
    int | None, typer.Option(min=1, help="Images of one forward pass; else all of a step's.")
]
Init = Annotated[
    Path | None, typer.Option(metavar="PATH", help="Weights to start from: checkpoint, safetensors, .pt.")
]


def train(
    context: typer.Context,
    method: Annotated[str, typer.Argument(help="How; they are listed below.")],
    *,
    dataset: Dataset,
    sigma: Annotated[float, typer.Option(help="Noise level, pixels in [0,1].")],
    arch: Arch = None,
    epochs: Epochs = None,
    data_root: Annotated[Path, typer.Option(help="Where torchvision's files lie.")] = Path("data"),
    out: Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run after a kill.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, order and noise.")] = 0,
    size: Annotated[int | None, typer.Option(min=1, help="Side of a folder's images, in pixels.")] = None,
    stream: Stream = None,
    precision: Annotated[AskedPrecision, typer.Option(help=PRECISION)] = "auto",
    micro_batch: MicroBatch = None,
    init: Init = None,
    new_head: Annotated[bool, typer.Option("--new-head", help="The last layer starts fresh.")] = False,
) -> None:
    """Train a base classifier.

    Options of the method itself, as `--weight` of consistency, are given as --NAME VALUE. They start from
    what is published for the data set. One that the method doesn't have is answered with those it has.
    Started by torchrun, several processes, one a GPU, train one network together.
    """
    wait_asleep()
    from training.datasets import load_dataset
    from training.export import run_name
    from training.initial import Initial
    from training.options import build_recipe, parse_options
    from training.session import check_out

    if out is not None:
        check_out(out, resume=resume)
    options = parse_options(method, context.args)
    initial = None if init is None else Initial.read(init, new_head=new_head)
    images = load_dataset(dataset, "train", data_root, size=size, stream=stream)
    recipe = build_recipe(
        *(method, dataset, sigma),
        options=options,
        channels=images.input_shape[0],
        arch=arch,
        epochs=epochs,
        seed=seed,
        micro_batch=micro_batch,
        initial=initial.digest if initial else None,
    )
    folder = out or Path("runs") / run_name(recipe)
    card = fit(recipe, images, folder, resume=resume, initial=initial, precision=precision)
    if card is not None:
        said = (
            f"loss {card.training['final_loss']}, {card.training['seconds']} s, {card.training['precision']}"
        )
        show(f"{card.name}: {folder}, {said}")
