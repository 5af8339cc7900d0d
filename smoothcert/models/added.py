"""Makes a checkpoint folder out of a model's file, after checking that it is a function of one image."""

import hashlib
import json
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from smoothcert.errors import BadCheckpoint, BadModelFile, InvalidRequest
from smoothcert.models.architectures import Normalize, build_body, build_network
from smoothcert.models.checkpoint import MAX_ONNX, refuse_not_finite, save_card, save_checkpoint
from smoothcert.models.file_kinds import kind_of
from smoothcert.models.onnx.graph import OnnxGraph, parse_onnx
from smoothcert.models.onnx.network import image_input, translated
from smoothcert.models.published import Published, fit, plain_architecture, read_published
from smoothcert.models.registry import ONNX, ONNX_FILE, OWN, TIMM, TORCHVISION, UNKNOWN_DATASET
from smoothcert.schemas.card import ModelCard, Preprocessing
from smoothcert.schemas.certificate import Shape
from smoothcert.schemas.limits import CHANNELS, MAX_SIDE

Mode = Literal["L", "RGB"]
Range = Literal["0-1", "0-255", "-1-1", "imagenet"]

_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CIFAR10 = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)  # of Cohen et al.'s layer that normalises
_SIDES = {"lenet": 28, "resnet20": 32, "resnet110": 32, "densenet40": 32, "inception_v3": 299}
_SIDE = 224  # of the other classifiers of torchvision


@dataclass(frozen=True)
class AddRequest:
    """What the user says of a model. None: as the file or the architecture says.

    range: the pixels that the network was trained on. mean, std: of pixels from 0 to 1, one per channel.
    resize: length of the short side before the crop; crop: height and width of the network's images.
    """

    name: str
    sigma: float
    architecture: str | None = None
    labels: tuple[str, ...] | None = None
    range: Range | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    resize: int | None = None
    crop: tuple[int, int] | None = None
    mode: Mode | None = None


@dataclass(frozen=True)
class AddedModel:
    """A model that may be saved. onnx: the bytes of its ONNX file, if it has one. found: for the user."""

    card: ModelCard
    network: nn.Module
    onnx: bytes | None
    found: dict[str, str] = field(default_factory=dict)


def read_model(path: Path, request: AddRequest) -> AddedModel:
    """The network in a file, with its card. Raises BadModelFile and other InvalidRequests, InternalError."""
    if kind_of(path) == "onnx":
        return _from_onnx(path, request)
    return _from_weights(read_published(path), path, request)


def save_model(model: AddedModel, folder: Path) -> ModelCard:
    """Writes the checkpoint folder, whole or not at all. Raises InvalidRequest: there is one; OSError."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidRequest(f"{folder} exists already: choose another --out or --name, or remove it.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        card = _write(model, beside)
        beside.replace(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return card


def _write(model: AddedModel, folder: Path) -> ModelCard:
    if model.onnx is None:
        return save_checkpoint(folder, model.network, model.card)
    folder.mkdir()
    (folder / ONNX_FILE).write_bytes(model.onnx)
    save_card(folder, model.card)
    return model.card


def _from_onnx(path: Path, request: AddRequest) -> AddedModel:
    if request.architecture is not None:
        raise InvalidRequest("--arch is for files of weights; an ONNX file holds its network itself.")
    if path.stat().st_size > MAX_ONNX:
        raise BadModelFile(
            f"{path} has {path.stat().st_size} bytes; ONNX files of up to {MAX_ONNX} are taken."
        )
    content = path.read_bytes()
    graph = parse_onnx(content)
    shape_CHW = _onnx_shape(graph, request)
    body, num_classes = translated(graph, shape_CHW)
    mean, std = _normalisation(request, shape_CHW[0], None)
    card = _card(request, ONNX, shape_CHW, num_classes, (mean, std))
    card = card.model_copy(update={"weights_sha256": hashlib.sha256(content).hexdigest()})
    given = image_input(graph)
    order = "height, width, channels" if given.channels_last else "channels, height, width"
    found = {
        "file": f"ONNX, operators of version {graph.opset}, made by {graph.made_by or 'an unnamed program'}",
        "input": f"{order}; the batch is {'free' if given.batch is None else f'fixed to {given.batch}'}",
    }
    return AddedModel(card, nn.Sequential(Normalize(mean, std), body).eval(), content, found | _said(card))


def _onnx_shape(graph: OnnxGraph, request: AddRequest) -> Shape:
    given = image_input(graph)
    _check_mode(request.mode, given.channels)
    height, width = given.size
    crop = request.crop or given.size
    for own, wanted in zip(given.size, crop, strict=True):
        if wanted is None:
            raise InvalidRequest("The network takes images of any size: say which, for example --crop 224.")
        if own is not None and own != wanted:
            raise InvalidRequest(
                f"The network takes {height}x{width} images, not --crop {crop[0]}x{crop[1]}."
            )
    assert crop[0] is not None
    assert crop[1] is not None
    if max(crop[0], crop[1]) > MAX_SIDE:
        raise BadModelFile(
            f"The network takes {crop[0]}x{crop[1]} images; up to {MAX_SIDE} pixels a side are."
        )
    return given.channels, crop[0], crop[1]


def _check_mode(mode: Mode | None, channels: int) -> None:
    if mode is not None and CHANNELS[mode] != channels:
        raise InvalidRequest(
            f"--mode {mode} is for {CHANNELS[mode]} channel(s); the network takes {channels}."
        )


def _from_weights(published: Published, path: Path, request: AddRequest) -> AddedModel:
    named = request.architecture or published.architecture
    if named is None:
        raise InvalidRequest(
            f"{path} holds weights only: say which network they are of, with --arch "
            f"{', '.join(OWN)}, torchvision:NAME or {TIMM}NAME."
        )
    architecture = plain_architecture(named)
    channels, num_classes = _measured(published, architecture, request.mode)
    weights = fit(published, _shapes(architecture, num_classes, channels), architecture)
    known = _known_normalisation(published, architecture) if published.normalises else None
    mean, std = _normalisation(request, channels, known)
    network = build_network(architecture, num_classes, mean, std).eval()
    network.load_state_dict({f"1.{name}": tensor for name, tensor in weights.items()})
    try:
        refuse_not_finite(network, path)
    except BadCheckpoint as error:
        raise BadModelFile(str(error)) from error
    card = _card(
        request, architecture, _shape(network, architecture, channels, request), num_classes, (mean, std)
    )
    layer = " behind a layer that normalises" if published.normalises else ""
    return AddedModel(card, network, None, {"file": f"weights of {architecture}{layer}"} | _said(card))


def _shapes(architecture: str, num_classes: int, channels: int) -> dict[str, Tensor]:
    """The names and shapes of a network's tensors, without memory for them."""
    with torch.device("meta"):
        return dict(build_body(architecture, num_classes, channels).state_dict())


def _measured(published: Published, architecture: str, mode: Mode | None) -> tuple[int, int]:
    """Channels and classes, from the shapes that depend on them."""
    channels = CHANNELS[mode] if mode else 1 if architecture == "lenet" else 3
    if mode is None and architecture not in TORCHVISION:
        shapes = [_shapes(architecture, 10, count) for count in (1, 3)]
        channels = _differing(published, architecture, shapes, dim=1) or channels
    shapes = [_shapes(architecture, count, channels) for count in (10, 11)]
    num_classes = _differing(published, architecture, shapes, dim=0)
    if num_classes is None or num_classes < 2:
        raise BadModelFile(f"These weights do not fit {architecture}: they have no last layer of it.")
    return channels, num_classes


def _differing(
    published: Published, architecture: str, shapes: Sequence[dict[str, Tensor]], dim: int
) -> int | None:
    """The size, in the file, of the dimension in which two networks differ."""
    given = fit(published, shapes[0], architecture, check=False)
    for name, tensor in shapes[0].items():
        other = shapes[1][name]
        if tensor.ndim > dim and tensor.shape[dim] != other.shape[dim] and name in given:
            return int(given[name].shape[dim]) if given[name].ndim > dim else None
    return None


def _known_normalisation(
    published: Published, architecture: str
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """What the layer before the weights does: as the file says, or as in the field's own code."""
    if published.mean and published.std:
        return published.mean, published.std
    if architecture in TORCHVISION:
        return _IMAGENET
    return _CIFAR10 if architecture in OWN and architecture != "lenet" else None


def _normalisation(
    request: AddRequest, channels: int, known: tuple[tuple[float, ...], tuple[float, ...]] | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if request.mean is not None or request.std is not None:
        if request.range is not None:
            raise InvalidRequest("Give --range, or --mean and --std, not both.")
        return _each(request.mean or (0.0,), channels, "--mean"), _each(
            request.std or (1.0,), channels, "--std"
        )
    if request.range is None and known is not None and len(known[0]) == channels:
        return known
    if request.range == "imagenet" and channels != 3:
        raise InvalidRequest("--range imagenet is for colour images; these are grey.")
    ranges: dict[Range, tuple[tuple[float, ...], tuple[float, ...]]] = {
        "0-1": ((0.0,), (1.0,)),
        "0-255": ((0.0,), (1 / 255,)),
        "-1-1": ((0.5,), (0.5,)),
        "imagenet": _IMAGENET,
    }
    mean, std = ranges[request.range or "0-1"]
    return _each(mean, channels, "--mean"), _each(std, channels, "--std")


def _each(values: tuple[float, ...], channels: int, option: str) -> tuple[float, ...]:
    """One value per channel. Raises InvalidRequest."""
    if len(values) not in (1, channels):
        raise InvalidRequest(f"{option} has {len(values)} numbers; the network takes {channels} channel(s).")
    return values if len(values) == channels else values * channels


def _shape(network: nn.Module, architecture: str, channels: int, request: AddRequest) -> Shape:
    if request.crop is not None:
        return channels, *request.crop
    if architecture.startswith(TIMM):
        _, height, width = getattr(network[1], "pretrained_cfg", {}).get("input_size") or (3, _SIDE, _SIDE)  # type: ignore[index]
        return channels, int(height), int(width)
    side = _SIDES.get(architecture, _SIDE)
    return channels, side, side


def _card(
    request: AddRequest,
    architecture: str,
    shape_CHW: Shape,
    num_classes: int,
    first_layer: tuple[tuple[float, ...], tuple[float, ...]],
) -> ModelCard:
    labels = list(request.labels or map(str, range(num_classes)))
    if len(labels) != num_classes:
        raise InvalidRequest(f"--labels names {len(labels)} classes; the network has {num_classes}.")
    resize = request.resize
    if resize is not None and resize < max(shape_CHW[1:]):
        raise InvalidRequest(
            f"--resize {resize} is less than the {max(shape_CHW[1:])} pixels that are cropped."
        )
    mode: Mode = "L" if shape_CHW[0] == 1 else "RGB"
    return ModelCard(
        name=request.name,
        architecture=architecture,
        dataset=UNKNOWN_DATASET,
        input_shape=shape_CHW,
        labels=labels,
        preprocessing=Preprocessing(mode=mode, resize=resize, mean=first_layer[0], std=first_layer[1]),
        sigma=request.sigma,
        method="added",
        weights_sha256="0" * 64,
        data_license=UNKNOWN_DATASET,
    )


def _said(card: ModelCard) -> dict[str, str]:
    """What was found, in words."""
    channels, height, width = card.input_shape
    some = ", ".join(json.dumps(label, ensure_ascii=False) for label in card.labels[:5])
    mean, std = card.preprocessing.mean, card.preprocessing.std
    plain = set(mean) == {0.0} and set(std) == {1.0}
    numbers = [",".join(f"{value:.6g}" for value in values) for values in (mean, std)]
    change = "as they are" if plain else f"less {numbers[0]}, divided by {numbers[1]}"
    return {
        "images": f"{'grey' if channels == 1 else 'colour'}, {height} x {width}",
        "pixels": f"from 0 to 1, {change}",
        "classes": f"{len(card.labels)}: {some}{', ...' if len(card.labels) > 5 else ''}",
    }
