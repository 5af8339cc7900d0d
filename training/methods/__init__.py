"""The training methods by name, and how one is built from a data set's defaults and the user's options.

A name costs no import, as PyTorch takes seconds.
"""

from dataclasses import fields
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from smoothcert.errors import InvalidRequest
from smoothcert.schemas.parameters import check_sigma

if TYPE_CHECKING:
    from training.methods.base import Method

METHODS = {
    "gaussian": "training.methods.gaussian:Gaussian",
    "stability": "training.methods.stability:Stability",
    "consistency": "training.methods.consistency:Consistency",
    "smoothadv": "training.methods.smoothadv:SmoothAdv",
    "smoothadv-consistency": "training.methods.smoothadv_consistency:SmoothAdvConsistency",
    "macer": "training.methods.macer:Macer",
}


def find_method(name: str) -> "type[Method]":
    """The class of a method. Raises InvalidRequest for a name that is not in METHODS."""
    if name not in METHODS:
        raise InvalidRequest(f"There is no training method {name!r}; there are: {', '.join(METHODS)}.")
    method: type[Method] = resolve_name(METHODS[name])
    return method


def option_names(name: str) -> list[str]:
    """The options of a method beside sigma; their help is in the dataclass fields' metadata."""
    return [f.name for f in fields(find_method(name)) if f.name != "sigma"]  # type: ignore[arg-type]


def defaults(name: str, dataset: str, sigma: float, **given: Any) -> dict[str, Any]:
    """A method's published options on this data set at the nearest noise level.

    `given` are options already chosen, on which others depend (consistency's weight on its form).
    """
    return find_method(name).defaults(dataset, sigma, **given)


def build_method(name: str, dataset: str, sigma: float, **options: Any) -> "Method":
    """The method with the data set's defaults overridden by `options`.

    Raises InvalidRequest for an unknown method, an unknown option or a value out of range.
    """
    unknown = sorted(set(options) - set(option_names(name)))
    if unknown:
        known = ", ".join(option_names(name))
        raise InvalidRequest(f"{name} has no option {unknown[0]!r}; it has: {known}.")
    check_sigma(sigma)
    return find_method(name)(sigma=sigma, **(defaults(name, dataset, sigma, **options) | options))  # type: ignore[call-arg]


def hyperparameters(method: "Method") -> int:
    """How many numbers a method leaves to be chosen beside sigma (the paper's Table 3 counts such).

    Those that play no part in the loss as it is set (its `idle` ones, if it has such) are not counted.
    """
    left_out = {"sigma", *getattr(method, "idle", ())}
    values = [getattr(method, f.name) for f in fields(method) if f.name not in left_out]  # type: ignore[arg-type]
    return sum(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
