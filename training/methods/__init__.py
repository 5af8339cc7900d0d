"""The training methods by name. To add one: one file in this folder and one line in METHODS.

base.py: interface and shared terms. gaussian.py: the shortest example. Methods are imported on first use, as
torch takes seconds to load.
"""

from dataclasses import Field, fields
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from smoothcert.errors import InvalidRequest
from smoothcert.schemas.limits import check_sigma

if TYPE_CHECKING:
    from training.methods.base import Method

METHODS = {
    "gaussian": "training.methods.gaussian:Gaussian",
    "stability": "training.methods.stability:Stability",
    "consistency": "training.methods.consistency:Consistency",
    "smoothadv": "training.methods.smoothadv:SmoothAdv",
    "smoothadv-consistency": "training.methods.consistency:SmoothAdvConsistency",
    "smoothmix": "training.methods.smoothmix:SmoothMix",
    "cat-rs": "training.methods.catrs:CatRs",
    "macer": "training.methods.macer:Macer",
    "standard": "training.methods.gaussian:Standard",
    "denoiser": "training.methods.denoiser:Denoiser",
}


def find_method(name: str) -> "type[Method]":
    """The class of a method. Raises InvalidRequest for a name that is not in METHODS."""
    if name not in METHODS:
        raise InvalidRequest(f"There is no training method {name!r}; there are: {', '.join(METHODS)}.")
    method: type[Method] = resolve_name(METHODS[name])
    return method


def option_names(name: str) -> list[str]:
    """The options of a method except sigma."""
    return [f.name for f in fields(find_method(name)) if f.name != "sigma"]


def written(option: Field[Any]) -> str:
    """An option's field as the command line has it."""
    name: str = option.metadata.get("option", option.name)
    return name


def defaults(name: str, dataset: str, sigma: float, **given: Any) -> dict[str, Any]:
    """A method's published options for this data set at the nearest noise level; see Method.defaults."""
    return find_method(name).defaults(dataset, sigma, **given)


def build_method(name: str, dataset: str, sigma: float, **options: Any) -> "Method":
    """The method with the data set's defaults, overridden by `options`.

    Raises InvalidRequest: unknown method or option, value out of range.
    """
    unknown = sorted(set(options) - set(option_names(name)))
    if unknown:
        known = ", ".join(written(f) for f in fields(find_method(name)) if f.name != "sigma")
        raise InvalidRequest(f"{name} has no option {unknown[0]!r}; it has: {known}.")
    if sigma == 0:
        raise InvalidRequest(
            "sigma must be above 0: it is also the level of certification. `standard` trains without noise."
        )
    check_sigma(sigma)
    return find_method(name)(sigma=sigma, **(defaults(name, dataset, sigma, **options) | options))


def hyperparameters(method: "Method") -> int:
    """The number of numeric options beside sigma that affect the loss, as the paper's Table 3 counts them."""
    left_out = {"sigma", *method.unused_options}
    values = [getattr(method, f.name) for f in fields(method) if f.name not in left_out]
    return sum(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
