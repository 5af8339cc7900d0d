"""Weights from elsewhere: safetensors, state dicts and the checkpoints that papers publish.

No file is unpickled. Names are brought to those of our networks: prefixes of wrappers are taken off, and the
names of the field's CIFAR networks (Cohen et al. 2019 and after) are translated.
"""

import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from smoothcert.errors import BadModelFile
from smoothcert.models.file_kinds import SAVE_WEIGHTS, kind_of
from smoothcert.models.registry import TORCHVISION

Weights = dict[str, Tensor]

# Where checkpoints keep their weights; averaged weights only if there are no others.
_INSIDE: Final = (
    "state_dict", "model_state_dict", "net", "model", "network", "classifier", "base_classifier", "weights",
    "params", "state_dict_ema", "model_ema", "ema",
)  # fmt: skip
_WRAPPERS = (
    "module.",
    "_orig_mod.",
    "model.",
    "net.",
    "network.",
    "base_classifier.",
    "classifier.",
    "backbone.",
)
_BODY = "1."  # of a Sequential whose layer 0 normalises
_MEANS, _STDS = ("mean", "means", "mu"), ("std", "sds", "stds", "sigma")
_COUNTERS = ("total_ops", "total_params")  # of a profiler
_FIELD_NAMES = {"cifar_resnet20": "resnet20", "cifar_resnet110": "resnet110"}
_MAX_LISTED = 5  # names in a message


@dataclass(frozen=True)
class Published:
    """Weights by name, without prefixes.

    architecture: as the file names it, if it does. normalises: they are of a network behind a layer that
    normalises, whose mean and std the file may hold.
    """

    weights: Weights
    architecture: str | None = None
    normalises: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def read_published(path: Path) -> Published:
    """The weights in a file. Raises BadModelFile: what the file is, and what to save instead."""
    kind = kind_of(path)
    if kind == "onnx":
        raise BadModelFile(f"{path} is an ONNX file, not a file of weights.")
    content = _read_safetensors(path) if kind == "safetensors" else _read_torch(path)
    weights = _weights_in(content, path)
    architecture = content.get("arch") if isinstance(content, Mapping) else None
    named = Published(
        weights, _FIELD_NAMES.get(str(architecture), str(architecture)) if architecture else None
    )
    return _without_prefixes(named)


def _read_safetensors(path: Path) -> Weights:
    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise BadModelFile(f"{path} is a damaged safetensors file: {_first_line(error)}.") from error


def _read_torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a pickle's protocol, before the error that names the file
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BadModelFile(_unsafe(path, str(error))) from error
    except Exception as error:  # a damaged file may raise anything; its message may advise to trust the file
        raise BadModelFile(f"{path} is a damaged PyTorch file, or none: it can't be read.") from error


def _unsafe(path: Path, message: str) -> str:
    """Why a file can't be read without unpickling. PyTorch's own text advises to trust it."""
    found = sorted(
        {*re.findall(r"(?:GLOBAL|global|class) [`']?([\w]+(?:\.[\w]+)+)", message), *_globals(path)}
    )
    if any(name.startswith("torch.nn.") for name in found):
        what = f"is a whole pickled module ({', '.join(found[:_MAX_LISTED])})"
    elif found:
        what = f"holds Python objects beside tensors ({', '.join(found[:_MAX_LISTED])})"
    else:
        what = "is a Python pickle, not a file of tensors"
    return (
        f"{path} {what}. Unpickling could run any code, so it is not read. "
        f"Where you trust it, load it and save the weights alone: {SAVE_WEIGHTS}."
    )


def _globals(path: Path) -> list[str]:
    try:
        return list(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # an old format, or damaged
        return []


def _weights_in(content: Any, path: Path) -> Weights:
    """The state dict, wherever it is in the file. Raises BadModelFile."""
    if isinstance(content, Mapping):
        for key in _INSIDE:
            inner = content.get(key)
            if isinstance(inner, Mapping) and any(isinstance(value, Tensor) for value in inner.values()):
                return _weights_in(inner, path)
        tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        if tensors and all(not isinstance(value, Mapping) for value in content.values()):
            return tensors
        keys = ", ".join(repr(str(key)[:40]) for key in list(content)[:_MAX_LISTED]) or "nothing"
        raise BadModelFile(f"{path} holds no state dict but {keys}: save the weights with {SAVE_WEIGHTS}.")
    raise BadModelFile(
        f"{path} holds a {type(content).__name__}, not a state dict: save the weights with {SAVE_WEIGHTS}."
    )


def _without_prefixes(published: Published) -> Published:
    """Takes off wrappers' prefixes, in any order and number, and a layer that normalises."""
    while True:
        shorter = _shorter(published)
        if shorter is None:
            return published
        published = shorter


def _shorter(published: Published) -> Published | None:
    names = published.weights.keys()
    for prefix in _WRAPPERS:
        if all(name.startswith(prefix) for name in names):
            return replace(published, weights=_cut(published.weights, prefix))
    first = {name: value for name, value in published.weights.items() if _is_statistic(name)}
    body = {name: value for name, value in published.weights.items() if name not in first}
    if body and all(name.startswith(_BODY) for name in body):
        means, stds = _statistic(first, _MEANS), _statistic(first, _STDS)
        return replace(
            published,
            weights=_cut(body, _BODY),
            normalises=True,
            mean=means or published.mean,
            std=stds or published.std,
        )
    return None


def _is_statistic(name: str) -> bool:
    """Whether a tensor is the mean or std of a first layer, such as `0.mean`."""
    return name.startswith("0.") and name.rpartition(".")[2] in _MEANS + _STDS


def _statistic(first: Weights, endings: tuple[str, ...]) -> tuple[float, ...] | None:
    found = [value for name, value in first.items() if name.rpartition(".")[2] in endings]
    return tuple(float(number) for number in found[0].flatten()) if found and found[0].numel() <= 3 else None


def _cut(weights: Weights, prefix: str) -> Weights:
    return {name.removeprefix(prefix): value for name, value in weights.items()}


def plain_architecture(text: str) -> str:
    """An architecture as users and papers write it, as cards name it. Raises BadModelFile."""
    name = _FIELD_NAMES.get(text, text.removeprefix("torchvision:"))
    if text.startswith("torchvision:") and name not in TORCHVISION:
        raise BadModelFile(
            f"torchvision has no classifier {name!r}; it has resnet18, resnet50, vit_b_16, ..."
        )
    return name


def fit(
    published: Published, body: Mapping[str, Tensor], architecture: str, *, check: bool = True
) -> Weights:
    """A complete state dict for a network with these names and shapes.

    Raises BadModelFile naming what is missing, unknown or of another shape, unless `check` is off.
    """
    given = {_own_name(name, architecture, body): value for name, value in published.weights.items()}
    given = {name: value for name, value in given.items() if name in body or not _is_left_out(name)}
    for name, value in body.items():
        if name.endswith("num_batches_tracked"):  # not used in evaluation mode, and absent in old files
            given.setdefault(name, torch.zeros_like(value, device="cpu"))
    if check:
        _check(given, body, architecture)
    return given


def _check(given: Weights, body: Mapping[str, Tensor], architecture: str) -> None:
    shapes = [
        f"{name} is {tuple(given[name].shape)}, not {tuple(body[name].shape)}"
        for name in body
        if name in given and given[name].shape != body[name].shape
    ]
    missing = [name for name in body if name not in given]
    unknown = [name for name in given if name not in body]
    if missing or unknown or shapes:
        problems = {"missing": missing, "unknown": unknown, "of another shape": shapes}
        text = "; ".join(f"{kind}: {_listed(names)}" for kind, names in problems.items() if names)
        raise BadModelFile(f"These weights do not fit {architecture}: {text}. Is --arch right?")


def _is_left_out(name: str) -> bool:
    return name.rpartition(".")[2] in _COUNTERS or name.startswith(("aux1.", "aux2.", "AuxLogits."))


_RESNET = (
    (r"^conv1\.", "stem."), (r"^bn1\.", "stem_bn."), (r"\.downsample\.", ".shortcut."),
    (r"^(?:fc|linear|classifier)\.", "head."),
)  # fmt: skip
_LENET = (
    (r"^conv1\.", "features.0."),
    (r"^conv2\.", "features.3."),
    (r"^fc1\.", "head.1."),
    (r"^fc2\.", "head.3."),
)
_DENSENET = (
    (r"^conv1\.", "features.0."),
    (r"^bn\.", "features.21."),
    (r"^(?:fc|linear|classifier)\.", "head."),
)
_RENAMED = {"resnet20": _RESNET, "resnet110": _RESNET, "lenet": _LENET, "densenet40": _DENSENET}


def _own_name(name: str, architecture: str, body: Mapping[str, Tensor]) -> str:
    """A tensor's name in our network, from that in the field's."""
    if name in body or architecture not in _RENAMED:
        return name
    for pattern, replacement in _RENAMED[architecture]:
        name = re.sub(pattern, replacement, name)
    if architecture == "densenet40":
        return re.sub(r"^dense([123])\.(\d+)\.", lambda m: f"features.{7 * int(m[1]) - 6 + int(m[2])}.", name)
    return re.sub(r"^layer([123])\.", lambda m: f"stages.{int(m[1]) - 1}.", name)


def _listed(names: list[str]) -> str:
    more = len(names) - _MAX_LISTED
    return ", ".join(names[:_MAX_LISTED]) + (f" and {more} more" if more > 0 else "")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
