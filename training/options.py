"""From the words of a command line to a recipe: the data set's published numbers or others."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_type_hints

from smoothcert.errors import InvalidRequest
from training.defaults import data_defaults, published_schedule
from training.methods import build_method, find_method
from training.recipe import Precision, Recipe
from training.schedule import Schedule
from training.sources.base import DataDefaults

YES, NO = ("true", "yes", "1"), ("false", "no", "0")


def parse_options(method: str, words: Sequence[str]) -> dict[str, Any]:
    """`--weight 5 --form=legacy` as options of the types the method's fields have. Raises InvalidRequest."""
    types = get_type_hints(find_method(method))
    return {name: _convert(name, text, types.get(name, str)) for name, text in _pairs(words)}


def build_recipe(
    method: str,
    dataset: str,
    sigma: float,
    *,
    options: dict[str, Any],
    channels: int = 1,
    arch: str | None = None,
    epochs: int | None = None,
    seed: int = 0,
    precision: Precision = "float32",
    micro_batch: int | None = None,
    initial: str | None = None,
) -> Recipe:
    """The recipe the field uses on this data set, or what is asked instead. Raises InvalidRequest."""
    known, schedule = data_defaults(dataset), published_schedule(method, dataset)
    mean, std = _normalisation(known, channels)
    return Recipe(
        method_name=method,
        method=build_method(method, dataset, sigma, **options),
        dataset=dataset,
        architecture=arch or known.architecture,
        schedule=schedule if epochs is None else shortened(schedule, epochs),
        mean=mean,
        std=std,
        seed=seed,
        precision=precision,
        micro_batch=micro_batch,
        initial=initial,
        method_options=options,
    )


def shortened(schedule: Schedule, epochs: int) -> Schedule:
    """A schedule of other length: the learning rate drops at the same shares of it."""
    share = epochs / schedule.epochs
    step = max(1, round(schedule.lr_step * share))
    return replace(schedule, epochs=epochs, lr_step=step, late=round(schedule.late * share))


def _normalisation(known: DataDefaults, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Grey images of one's own have no published statistics: they stay as they are."""
    if len(known.mean) == channels:
        return known.mean, known.std
    return (0.0,) * channels, (1.0,) * channels


def _pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    pairs, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        name, equals, text = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not name:
            raise InvalidRequest(f"{word!r} is no option; method options are written --name value.")
        if not equals and not rest:
            raise InvalidRequest(f"--{name} needs a value.")
        pairs.append((name.replace("-", "_"), text if equals else rest.pop(0)))
    return pairs


def _convert(name: str, text: str, kind: type) -> Any:
    try:
        return _boolean(text) if kind is bool else kind(text)
    except ValueError:
        wanted = "yes or no" if kind is bool else "a whole number" if kind is int else "a number"
        raise InvalidRequest(f"--{name.replace('_', '-')} {text!r} is not {wanted}.") from None


def _boolean(text: str) -> bool:
    if text.lower() not in YES + NO:
        raise ValueError(text)
    return text.lower() in YES
