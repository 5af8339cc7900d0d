"""Checkpoint folders: model.safetensors or model.onnx, card.json, and int8.json if quantized.

No pickle: a malicious checkpoint can only fail to load.
"""

import hashlib
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from smoothcert.engines.int8 import attach
from smoothcert.errors import BadCheckpoint, InvalidRequest
from smoothcert.files import read_bounded, write_whole
from smoothcert.models.architectures import Normalize, build_network
from smoothcert.models.registry import CARD_FILE, INT8_FILE, ONNX, ONNX_FILE, WEIGHTS_FILE, read_card
from smoothcert.schemas.card import Int8, ModelCard, Quantization

HEADER_ROOM = 1_000_000  # bytes for the names of the tensors
MAX_ONNX = 1_000_000_000  # bytes of model.onnx
MAX_QUANTIZATION = 1_000_000  # bytes of int8.json


def load_network(folder: Path, card: ModelCard | None = None) -> nn.Module:
    """The base classifier of a checkpoint, in eval mode, on the CPU, float32.

    card: as read from this folder earlier; the weights must still match it. The int8 quantization, if any, is
    attached. Raises BadCheckpoint: weights or quantization are missing, altered (sha256), not finite, or do
    not fit the card's architecture.
    """
    card = card or read_card(folder)
    network = _from_onnx(folder, card) if card.architecture == ONNX else _from_weights(folder, card)
    if card.int8:
        attach(network, _read_quantization(folder, card.int8.sha256, card.weights_sha256))
    return network.eval()


def _from_weights(folder: Path, card: ModelCard) -> nn.Module:
    network = _fresh_network(folder, card)
    weights = _read(folder / WEIGHTS_FILE, card.weights_sha256, _max_bytes(network))
    try:
        network.load_state_dict(load(weights))
    except (SafetensorError, RuntimeError) as error:
        raise BadCheckpoint(f"{folder / WEIGHTS_FILE} does not fit {card.architecture}: {error}") from error
    refuse_not_finite(network, folder / WEIGHTS_FILE)
    return network


def _from_onnx(folder: Path, card: ModelCard) -> nn.Module:
    from smoothcert.models.onnx.network import network_in  # noqa: PLC0415  # few models need it

    content = _read(folder / ONNX_FILE, card.weights_sha256, MAX_ONNX)
    try:
        body = network_in(content, card.input_shape, len(card.labels))
    except InvalidRequest as error:
        raise BadCheckpoint(f"{folder / ONNX_FILE}: {error}") from error
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
    weights = save({name: t.detach().cpu().contiguous() for name, t in network.state_dict().items()})
    write_whole(folder / WEIGHTS_FILE, weights)
    card = card.model_copy(update={"weights_sha256": hashlib.sha256(weights).hexdigest()})
    save_card(folder, card)
    return card


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
