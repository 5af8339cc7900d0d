"""Model cards as tests want them."""

from typing import Any

from smoothcert.schemas.card import Evaluation, ModelCard, Preprocessing, Protocol

PROTOCOL = Protocol(
    every=20, n0=100, n=100_000, alpha=0.001, procedure="certify", bound="one_sided", engine="its own"
)


def measured(acr: float | None, images: int = 500, **protocol: Any) -> Evaluation | None:
    """Figures measured as PROTOCOL says, but for what is given; None for no ACR."""
    if acr is None:
        return None
    return Evaluation(
        images=images,
        acr=acr,
        certified_accuracy={"0.00": 0.9},
        abstention_rate=0.0,
        protocol=PROTOCOL.model_copy(update=protocol),
    )


def card_with(**changes: Any) -> ModelCard:
    """A card of a small model, with these fields."""
    plain = {
        "name": "small",
        "architecture": "lenet",
        "dataset": "mnist",
        "input_shape": (1, 28, 28),
        "labels": list("0123456789"),
        "preprocessing": Preprocessing(mode="L", mean=(0.0,), std=(1.0,)),
        "sigma": 0.5,
        "method": "gaussian",
        "weights_sha256": "a" * 64,
        "data_license": "none",
    }
    return ModelCard.model_validate(plain | changes)
