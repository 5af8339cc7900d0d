"""From a finished log to the figures in a model's card."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smoothcert.errors import InvalidRequest
from smoothcert.files import try_writing
from smoothcert.models.checkpoint import save_card
from smoothcert.models.registry import CARD_FILE, read_card
from smoothcert.schemas.card import Evaluation, ModelCard, Protocol
from training.journal import Run
from training.log import Row
from training.summary import average_certified_radius, certified_accuracy

GRID_STEP = 5  # hundredths of the radius


def measured(rows: Sequence[Row], run: Run) -> Evaluation:
    """ACR and the certified-accuracy curve on a grid, from 0 up to where it ends, with the protocol."""
    bounds = {row.evidence.bound for row in rows if row.evidence}
    return Evaluation(
        images=len(rows),
        acr=average_certified_radius(rows),
        certified_accuracy=accuracy_on_grid(rows),
        abstention_rate=sum(row.abstained for row in rows) / max(len(rows), 1),
        protocol=Protocol(
            split=run.split,
            every=run.every,
            n0=run.n0,
            n=run.n,
            alpha=run.alpha,
            procedure=run.procedure,
            bound=", ".join(sorted(bounds)),
            engine=run.setup,
        ),
    )


def accuracy_on_grid(rows: Sequence[Row]) -> dict[str, float]:
    """Certified accuracy at 0.00, 0.05, ... up to the first radius at which it is 0."""
    curve: dict[str, float] = {}
    for hundredths in range(0, 10_000, GRID_STEP):
        curve[f"{hundredths / 100:.2f}"] = share = certified_accuracy(rows, hundredths / 100)
        if share == 0:
            break
    return curve


def check_card(folder: Path, dataset: str) -> ModelCard:
    """The card of a checkpoint whose figures a data set may make. Raises InvalidRequest: it is not the
    model's own data set, or the card can't be written."""
    card = read_card(folder)
    if dataset.partition(":")[0] != card.dataset:
        raise InvalidRequest(f"--update-card: {card.name} was trained on {card.dataset}, not {dataset}.")
    try:
        try_writing(folder / CARD_FILE)
    except OSError as error:
        raise InvalidRequest(
            f"--update-card: {folder / CARD_FILE} can't be written: {error.strerror}."
        ) from error
    return card


def record_in_card(folder: Path, rows: Sequence[Row], run: Run) -> ModelCard:
    """Write the figures into the card, those of int8 beside the network's own. Raises InvalidRequest as
    `check_card` does, for no rows, and for votes of an int8 rounding that is no longer the model's."""
    card = check_card(folder, run.dataset)
    if not rows:
        raise InvalidRequest(f"--update-card: no image was certified, so there is no figure for {card.name}.")
    card = card.model_copy(update=_learned(card, measured(rows, run), run))
    save_card(folder, card)
    return card


def _learned(card: ModelCard, evaluation: Evaluation, run: Run) -> dict[str, Any]:
    if run.int8_sha256 is None:
        return {"evaluation": evaluation}
    if card.int8 is None or card.int8.sha256 != run.int8_sha256:
        raise InvalidRequest(
            f"--update-card: {card.name} has another int8 rounding now than when it was run."
        )
    return {"int8": card.int8.model_copy(update={"evaluation": evaluation})}
