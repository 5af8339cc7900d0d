"""Checkpoint folders: model.safetensors or model.onnx, card.json, and int8.json if quantized.

A denoiser before a classifier is one model.safetensors with the weights of both, or with the denoiser's and
the classifier's whole ONNX file.
No pickle: a malicious checkpoint can only fail to load.
"""

import hashlib
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from smoothcert.engines.int8 import attach
from smoothcert.errors import BadCheckpoint, InvalidRequest
from smoothcert.files import read_bounded, write_whole
from smoothcert.models.architectures import DenoisedClassifier, Normalize, build_denoised, build_network
from smoothcert.models.registry import (
    CARD_FILE,
    INT8_FILE,
    ONNX,
    ONNX_FILE,
    WEIGHTS_FILE,
    DenoisedArchitecture,
    read_card,
)
from smoothcert.schemas.card import Int8, ModelCard, Quantization

HEADER_ROOM = 1_000_000  # bytes for the names of the tensors
MAX_ONNX = 1_000_000_000  # bytes of model.onnx
MAX_QUANTIZATION = 1_000_000  # bytes of int8.json
CLASSIFIER_FILE = "classifier.onnx"  # name of the tensor that holds an ONNX file's bytes
DENOISER = "denoiser."  # before the names of its tensors


def load_network(folder: Path, card: ModelCard | None = None) -> nn.Module:
    """The base classifier of a checkpoint, in eval mode, on the CPU, float32.

    card: as read from this folder earlier; the weights must still match it. The int8 quantization, if any, is
    attached. Raises BadCheckpoint: weights or quantization are missing, altered (sha256), not finite, or do
    not fit the card's architecture.
    """
    card = card or read_card(folder)
    denoised = DenoisedArchitecture.parse(card.architecture)
    if card.architecture == ONNX:
        content = _read(folder / ONNX_FILE, card.weights_sha256, MAX_ONNX)
        network: nn.Module = _from_onnx(folder / ONNX_FILE, content, card)
    elif denoised is not None and denoised.classifier == ONNX:
        network = _before_onnx(folder / WEIGHTS_FILE, denoised, card)
    else:
        network = _from_weights(folder, card)
    if card.int8:
        attach(network, _read_quantization(folder, card.int8.sha256, card.weights_sha256))
    return network.eval()


def _from_weights(folder: Path, card: ModelCard) -> nn.Module:
    network = _fresh_network(folder, card)
    path = folder / WEIGHTS_FILE
    _fill(network, _tensors(path, card, _max_bytes(network)), path, card)
    refuse_not_finite(network, path)
    return network


def _before_onnx(path: Path, denoised: DenoisedArchitecture, card: ModelCard) -> nn.Module:
    """A denoiser before a classifier whose ONNX file is one of the tensors."""
    tensors = _tensors(path, card, HEADER_ROOM + MAX_ONNX)
    held = tensors.pop(CLASSIFIER_FILE, None)
    if held is None or held.dtype != torch.uint8:
        raise BadCheckpoint(f"{path} does not fit {card.architecture}: it holds no ONNX file.")
    classifier = _from_onnx(path, held.numpy().tobytes(), card)
    network = build_denoised(denoised, classifier, card.input_shape[0])
    tensors = {name.removeprefix(DENOISER): tensor for name, tensor in tensors.items()}
    _fill(network.denoiser, tensors, path, card)
    refuse_not_finite(network.denoiser, path)
    return network


def _tensors(path: Path, card: ModelCard, most_bytes: int) -> dict[str, Tensor]:
    content = _read(path, card.weights_sha256, most_bytes)
    try:
        return load(content)
    except SafetensorError as error:
        raise BadCheckpoint(f"{path} does not fit {card.architecture}: {error}") from error


def _fill(network: nn.Module, tensors: dict[str, Tensor], path: Path, card: ModelCard) -> None:
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise BadCheckpoint(f"{path} does not fit {card.architecture}: {error}") from error


def _from_onnx(path: Path, content: bytes, card: ModelCard) -> nn.Module:
    from smoothcert.models.onnx.network import network_in  # noqa: PLC0415  # few models need it

    try:
        body = network_in(content, card.input_shape, len(card.labels))
    except InvalidRequest as error:
        raise BadCheckpoint(f"{path}: {error}") from error
    return nn.Sequential(Normalize(card.preprocessing.mean, card.preprocessing.std), body)


def _fresh_network(folder: Path, card: ModelCard) -> nn.Module:
    mean, std = card.preprocessing.mean, card.preprocessing.std
    try:
        return build_network(card.architecture, len(card.labels), mean, std)
    except InvalidRequest as error:
        raise BadCheckpoint(f"{folder / CARD_FILE}: {error}") from error


def refuse_not_finite(network: nn.Module, path: Path) -> None:
    """Raises BadCheckpoint. Back ends treat NaN differently, so such a network is no fixed function."""
    for name, tensor in network.state_dict().items():
        if not tensor.isfinite().all():
            raise BadCheckpoint(f"{path}: {name} holds NaN or infinite numbers; train the model again.")


def save_checkpoint(folder: Path, network: nn.Module, card: ModelCard) -> ModelCard:
    """Write weights and card; returns the card with the digest of the weights.

    Both writes are atomic and the card comes last, so a folder with a card is complete.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = _held(network) if isinstance(network, DenoisedClassifier) else network.state_dict()
    weights = save({name: t.detach().cpu().contiguous() for name, t in tensors.items()})
    write_whole(folder / WEIGHTS_FILE, weights)
    card = card.model_copy(update={"weights_sha256": hashlib.sha256(weights).hexdigest()})
    save_card(folder, card)
    return card


def _held(network: DenoisedClassifier) -> dict[str, Tensor]:
    """The tensors of the denoiser and of the classifier, or the classifier's ONNX file."""
    tensors: dict[str, Tensor] = network.state_dict()
    if network.onnx is None:
        return tensors
    denoiser = {name: tensor for name, tensor in tensors.items() if name.startswith(DENOISER)}
    return denoiser | {CLASSIFIER_FILE: torch.frombuffer(bytearray(network.onnx), dtype=torch.uint8)}


def save_card(folder: Path, card: ModelCard) -> None:
    """Write card.json alone, for example with a new evaluation."""
    write_whole(folder / CARD_FILE, card.model_dump_json(indent=1).encode() + b"\n")


def _max_bytes(network: nn.Module) -> int:
    """Upper bound of the size of the weights file, even in float64."""
    held: int = sum(t.numel() * t.element_size() for t in network.state_dict().values())
    return HEADER_ROOM + 2 * held


def save_quantization(folder: Path, quantization: Quantization) -> ModelCard:
    """Write int8.json, then the card that names it. Drops the evaluation of any other quantization."""
    content = quantization.model_dump_json(indent=1).encode() + b"\n"
    card, digest = read_card(folder), hashlib.sha256(content).hexdigest()
    assert quantization.weights_sha256 == card.weights_sha256
    if card.int8 is None or card.int8.sha256 != digest:
        card = card.model_copy(update={"int8": Int8(sha256=digest)})
    write_whole(folder / INT8_FILE, content)
    save_card(folder, card)
    return card


def _read_quantization(folder: Path, sha256: str, weights_sha256: str) -> Quantization:
    path = folder / INT8_FILE
    try:
        quantization = Quantization.model_validate_json(_read(path, sha256, MAX_QUANTIZATION))
    except ValidationError as error:
        raise BadCheckpoint(f"{path} is no int8 rounding: {error.errors()[0]['msg']}.") from error
    if quantization.weights_sha256 != weights_sha256:
        raise BadCheckpoint(f"{path} was calibrated for other weights: quantize the model again.")
    return quantization


def _read(path: Path, sha256: str, most_bytes: int) -> bytes:
    content = read_bounded(path, most_bytes, "is larger than that of its architecture can be.")
    if hashlib.sha256(content).hexdigest() != sha256:
        raise BadCheckpoint(f"{path} is not the file its card names: the sha256 differs.")
    return content
