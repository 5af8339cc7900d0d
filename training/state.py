"""What a killed run needs to go on as if nothing had happened, in one safetensors file (no pickle)."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from smoothcert.errors import BadCheckpoint, InvalidRequest
from smoothcert.files import write_whole


@dataclass(frozen=True)
class Position:
    """Where a run stands: `step` optimizer steps of `epoch` (from 0) are done; seconds spent so far."""

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0


def save_state(
    path: Path, tensors: dict[str, Tensor], position: Position, recipe: dict[str, Any], data: str
) -> None:
    """Write weights, momentum and generator states with the position, and the recipe and the data set's
    digest that they belong to."""
    metadata = {"position": json.dumps(asdict(position)), "recipe": json.dumps(recipe, sort_keys=True)}
    metadata["data"] = data
    write_whole(path, save({k: t.detach().cpu().contiguous() for k, t in tensors.items()}, metadata))


def load_state(path: Path, recipe: dict[str, Any], data: str) -> tuple[dict[str, Tensor], Position]:
    """Read what `save_state` wrote. Raises InvalidRequest when it belongs to another recipe or other images,
    BadCheckpoint."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise BadCheckpoint(f"{path} can't be read as a training state: {error}") from error
    differing = _differences(json.loads(metadata["recipe"]), json.loads(json.dumps(recipe)))
    if differing:
        raise InvalidRequest(
            f"{path} belongs to another recipe ({differing} differ); give the same options, or another --out."
        )
    if metadata.get("data", data) != data:  # states of before don't say
        raise InvalidRequest(
            f"{path} belongs to other images: classes, labels or files of {recipe['dataset']} have changed "
            "since; put them back, or start anew with another --out."
        )
    return tensors, Position(**json.loads(metadata["position"]))


def saved_recipe(path: Path) -> dict[str, Any]:
    """The recipe's record in a state that `save_state` wrote. Raises BadCheckpoint."""
    try:
        with safe_open(path, framework="pt") as file:
            recipe: dict[str, Any] = json.loads(file.metadata()["recipe"])
    except (OSError, SafetensorError) as error:
        raise BadCheckpoint(f"{path} can't be read as a training state: {error}") from error
    return recipe


def _differences(old: dict[str, Any], new: dict[str, Any]) -> str:
    return ", ".join(sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k)))
