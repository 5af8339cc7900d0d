"""smoothcert models: the model cards."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from smoothcert.cli.output import note, show, show_json, table

if TYPE_CHECKING:
    from smoothcert.schemas.card import ModelCard


def models(
    as_json: Annotated[bool, typer.Option("--json", help="The whole cards, as one JSON list.")] = False,
) -> None:
    """List the models and what they can certify.

    ACR is the average certified radius over the test images. Stated is the share of the images' distribution
    that a statement (see attest) proves to be answered right within the radius.
    """
    from smoothcert.cli.settings import settings

    registry = settings().registry
    for name, reason in registry.left_out().items():
        note(f"{registry.root / name} is left out: {reason}")
    cards = registry.cards()
    if as_json:
        show_json([card.model_dump(mode="json") for card in cards])
    elif cards:
        header = ["model", "data set", "sigma", "ACR", "certified at 0.5", "images", "stated at 0.5"]
        show(table(header, [*map(_row, cards)]))
    else:
        show(f"There are no models in {registry.root}.")


def _row(card: ModelCard) -> list[str]:
    known = [card.name, card.dataset, f"{card.sigma:g}"]
    if card.evaluation is None:
        return [*known, "-", "-", "-", _stated(card)]
    share = card.evaluation.certified_accuracy.get("0.50")
    at_half = "-" if share is None else f"{100 * share:.1f} %"
    return [*known, f"{card.evaluation.acr:.3f}", at_half, str(card.evaluation.images), _stated(card)]


def _stated(card: ModelCard) -> str:
    """The share at radius 0.5, rounded down."""
    radii = card.statement.radii if card.statement else []
    return next((f"{math.floor(1000 * one.at_least) / 10:.1f} %" for one in radii if one.radius == 0.5), "-")
