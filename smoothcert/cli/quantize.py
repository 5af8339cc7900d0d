"""smoothcert quantize: an int8 rounding for a model, calibrated on noisy training images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smoothcert.cli.options import Dataset
from smoothcert.cli.output import check_out, show


def quantize(
    model: Annotated[str, typer.Argument(help="A bundled name or a checkpoint folder.")],
    *,
    dataset: Dataset,
    data_root: Annotated[Path, typer.Option(help="Where torchvision's files lie.")] = Path("data"),
    images: Annotated[int, typer.Option(min=1, help="Of the training split, to calibrate on.")] = 2048,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of images and their noise.")] = 0,
) -> None:
    """Let a model be run in int8.

    The rounding goes into the checkpoint folder as int8.json. It makes another base classifier: evaluate it
    with --engine and --update-card, and it is used unasked where it is fastest and as good.
    """
    from smoothcert.cli.checkpoints import Selection, find_checkpoint, load_images
    from smoothcert.engines.hardware import limit_threads_to_quota
    from smoothcert.engines.int8 import CalibrationRequest, calibrate
    from smoothcert.models.checkpoint import load_network, save_quantization
    from smoothcert.models.registry import INT8_FILE
    from smoothcert.progress import progress_bar

    limit_threads_to_quota()
    checkpoint = find_checkpoint(model)
    card = checkpoint.card
    check_out(checkpoint.folder / INT8_FILE, "quantize:")
    training = load_images(checkpoint, Selection(dataset, "train", data_root, every=1, limit=None))
    network = load_network(checkpoint.folder, card.model_copy(update={"int8": None}))
    request = CalibrationRequest(card.weights_sha256, training.name, card.sigma, images, seed)
    with progress_bar("calibrating") as update:
        rounding = calibrate(network, training.images_u8, request, lambda seen: update(seen, images, ""))
    save_quantization(checkpoint.folder, rounding)
    show(f"{card.name}: {len(rounding.places)} places rounded, {rounding.calibration.images} images seen")
