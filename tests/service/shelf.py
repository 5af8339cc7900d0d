"""Checkpoints as far as the service looks: cards are real, weights are never read."""

from pathlib import Path

from certification.catalogue import CARD_FILE, WEIGHTS_FILE
from certification.contract.card import ModelCard, Preprocessing

MODEL = "mnist-lenet-consistency-0.50"


def write_model(root: Path, name: str, sigma: float = 0.5) -> ModelCard:
    """Puts one model on the shelf."""
    card = ModelCard(
        name=name,
        architecture="lenet",
        dataset="mnist",
        input_shape=(1, 28, 28),
        labels=list("0123456789"),
        preprocessing=Preprocessing(mode="L", mean=(0.0,), std=(1.0,)),
        sigma=sigma,
        method="consistency",
        weights_sha256="0" * 64,
        data_license="CC BY-SA 3.0",
    )
    folder = root / name
    folder.mkdir(parents=True)
    (folder / CARD_FILE).write_text(card.model_dump_json())
    (folder / WEIGHTS_FILE).write_bytes(b"")
    return card
