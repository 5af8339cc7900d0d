"""smoothcert add: makes a checkpoint folder out of a model's file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from smoothcert.cli.output import check_out, note, show
from smoothcert.errors import InvalidRequest

if TYPE_CHECKING:
    from smoothcert.models.added import AddRequest
    from smoothcert.schemas.card import ModelCard


def add(
    source: Annotated[Path, typer.Argument(help="model.onnx, *.safetensors, a state dict or a checkpoint.")],
    *,
    sigma: Annotated[float, typer.Option(help="The noise level it is certified at, pixels in [0,1].")],
    name: Annotated[str | None, typer.Option(help="Of the model.  [default: from the file's name]")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="models/NAME", help="The folder.  [default: among the models]")
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option(help="Of weights: lenet, resnet20, resnet110, densenet40, torchvision:NAME, timm:NAME."),
    ] = None,
    labels: Annotated[str | None, typer.Option(metavar="FILE|A,B,C", help="Names of the classes.")] = None,
    range_name: Annotated[
        Literal["0-1", "0-255", "-1-1", "imagenet"] | None,
        typer.Option("--range", help="The pixels it was trained on.  [default: 0-1, or as the file says]"),
    ] = None,
    mean: Annotated[str | None, typer.Option(help="Subtracted from pixels in [0,1].")] = None,
    std: Annotated[str | None, typer.Option(help="Divides them after that.")] = None,
    resize: Annotated[int | None, typer.Option(min=1, help="Short side before the crop.")] = None,
    crop: Annotated[str | None, typer.Option(metavar="SIDE|HxW", help="Size of its images.")] = None,
    mode: Annotated[Literal["L", "RGB"] | None, typer.Option(help="Grey or colour.")] = None,
) -> None:
    """Make a model out of a file: ONNX, or weights of a known network.

    It is checked to be a function of one image, and then served, evaluated and attacked like any other.
    Nothing in the file is executed.
    """
    from smoothcert.engines.hardware import limit_threads_to_quota
    from smoothcert.models.added import AddRequest, read_model, save_model
    from smoothcert.models.checks import check_added

    request = AddRequest(
        name=_name(name, out, source),
        sigma=_sigma(sigma),
        architecture=arch,
        labels=_labels(labels),
        range=range_name,
        mean=_numbers(mean, "--mean"),
        std=_numbers(std, "--std"),
        resize=resize,
        crop=_size(crop),
        mode=mode,
    )
    folder = out or _models() / request.name
    check_out(folder.parent, folder=True)
    limit_threads_to_quota()
    model = read_model(source, request)
    show(f"{source}")
    _list(model.found)
    _list(check_added(model))
    card = save_model(model, folder)
    _list({"digest": card.weights_sha256})
    show(f"added as {folder}")
    _warn(card, request, folder)


def _list(found: dict[str, str]) -> None:
    for title, text in found.items():
        show(f"  {title:<9} {text}")


def _warn(card: ModelCard, request: AddRequest, folder: Path) -> None:
    from smoothcert.models.registry import TIMM, TORCHVISION

    note(
        f"Its accuracy under noise of sigma {card.sigma:g} is not measured. A network that was not "
        "trained with noise often abstains or errs. "
        f"Measure it: smoothcert evaluate {folder} --dataset ... --update-card"
    )
    foreign = card.architecture in TORCHVISION or card.architecture.startswith(TIMM)
    if foreign and request.range is None and request.mean is None and set(card.preprocessing.mean) == {0.0}:
        note("Pixels go in from 0 to 1. The weights that torchvision publishes want --range imagenet.")


def _models() -> Path:
    from smoothcert.cli.settings import settings

    return settings().models


def _name(name: str | None, out: Path | None, source: Path) -> str:
    """The model's name: that of its folder. Raises InvalidRequest."""
    from smoothcert.schemas.limits import NAME

    if name is None and out is None:
        stem = re.sub(r"[^a-z0-9._-]+", "-", source.name.lower())
        stem = re.sub(r"\.(onnx|safetensors|pth|pt|bin|ckpt|tar)$", "", re.sub(r"\.tar$", "", stem))
        name = stem.strip("._-")[:100]
    chosen = name or (out.resolve().name if out else "")
    if not NAME.fullmatch(chosen):
        raise InvalidRequest(
            f"{chosen!r} can't be a model's name, which has small letters, digits, dots, _ and - only: "
            "choose one with --name."
        )
    return chosen


def _sigma(sigma: float) -> float:
    from pydantic import TypeAdapter, ValidationError

    from smoothcert.schemas.parameters import Sigma

    try:
        return float(TypeAdapter(Sigma).validate_python(sigma))
    except ValidationError as error:
        raise InvalidRequest(f"--sigma {sigma}: {error.errors()[0]['msg']}.") from error


def _labels(text: str | None) -> tuple[str, ...] | None:
    """Names from a file, one a line or as JSON, or from a list with commas. Raises InvalidRequest."""
    if text is None:
        return None
    path = Path(text)
    if "," not in text or path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"--labels {path} can't be read as text: give a file, or a,b,c.") from error
        return _labels_in(text, path)
    return tuple(label.strip() for label in text.split(","))


def _labels_in(text: str, path: Path) -> tuple[str, ...]:
    import json

    if not text.lstrip().startswith(("[", "{")):
        return tuple(line.strip() for line in text.splitlines() if line.strip())
    try:
        names = json.loads(text)
        if isinstance(names, dict):
            names = [names[str(index)] for index in range(len(names))]
        return tuple(map(str, names))
    except (json.JSONDecodeError, KeyError, RecursionError) as error:
        raise InvalidRequest(f"--labels {path} is no list of names in JSON.") from error


def _numbers(text: str | None, option: str) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError as error:
        raise InvalidRequest(f"{option} {text}: give one number, or one per channel with commas.") from error


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text)
    if found is None or "0" in (found[1], found[2]):
        raise InvalidRequest(f"--crop {text}: give one number of pixels, or height x width, as in 224x224.")
    return int(found[1]), int(found[2] or found[1])
