"""Checkpoints as far as the service looks: cards are real, weights are never read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from smoothcert.models.registry import BUNDLED, CARD_FILE, STATEMENT_FILE, WEIGHTS_FILE
from smoothcert.schemas.card import CardStatement, Evaluation, ModelCard, Preprocessing, Protocol
from smoothcert.schemas.certificate import Shape
from smoothcert.schemas.statement import Statement

MODEL = "mnist-lenet-consistency-0.50"
STATEMENT = BUNDLED / MODEL / STATEMENT_FILE


def write_model(
    root: Path,
    name: str,
    sigma: float = 0.5,
    *,
    evaluation: Evaluation | None = None,
    dataset: str = "mnist",
    input_shape: Shape = (1, 28, 28),
    labels: Sequence[str] = "0123456789",
    statement: Path | None = None,
    no_statement: str | None = None,
) -> ModelCard:
    """Puts one model on the shelf. statement: a file to put beside its card."""
    stated = statement.read_bytes() if statement else b""
    shown = CardStatement.of(Statement.model_validate_json(stated), stated) if statement else None
    mode: Literal["L", "RGB"] = "L" if input_shape[0] == 1 else "RGB"
    zeros, ones = (0.0,) * input_shape[0], (1.0,) * input_shape[0]
    card = ModelCard(
        name=name,
        architecture="lenet",
        dataset=dataset,
        input_shape=input_shape,
        labels=list(labels),
        preprocessing=Preprocessing(mode=mode, mean=zeros, std=ones),
        sigma=sigma,
        method="consistency",
        evaluation=evaluation,
        statement=shown,
        no_statement=no_statement,
        weights_sha256="0" * 64,
        data_license="CC BY-SA 3.0",
    )
    folder = root / name
    folder.mkdir(parents=True)
    (folder / CARD_FILE).write_text(card.model_dump_json())
    (folder / WEIGHTS_FILE).write_bytes(b"")
    if statement:
        (folder / STATEMENT_FILE).write_bytes(stated)
    return card


def measured(sigma: float) -> Evaluation:
    """Figures in the shape of real ones."""
    return Evaluation(
        images=500,
        acr=3 * sigma,
        certified_accuracy={f"{sigma * k:.2f}": 1 - k / 4 for k in range(5)},
        abstention_rate=0.01,
        protocol=Protocol(every=20, n0=100, n=100_000, alpha=0.001, procedure="certify", bound="one_sided"),
    )
