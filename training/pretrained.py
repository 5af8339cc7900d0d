"""Weights to start a run from: a checkpoint folder, a safetensors file or a torch state dict."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from smoothcert.errors import BadModelFile, InvalidRequest
from smoothcert.models.architectures import DenoisedClassifier
from smoothcert.models.checkpoint import DENOISER
from smoothcert.models.published import Weights, read_published
from smoothcert.models.registry import WEIGHTS_FILE

BODY = "1."  # prefix of our names: layer 0 normalises and has no weights. Other programs lack it
MAX_LISTED = 3  # names in a message


@dataclass(frozen=True)
class PretrainedWeights:
    """Tensors by name, on the CPU. new_head: the network's last linear layer keeps its fresh weights."""

    weights: Weights
    new_head: bool = False

    @classmethod
    def read(cls, path: Path, *, new_head: bool = False) -> "PretrainedWeights":
        """Runs no code from the file. Raises InvalidRequest if it cannot be read as weights."""
        path = path / WEIGHTS_FILE if path.is_dir() else path
        try:
            weights = read_published(path).weights
        except BadModelFile as error:
            raise InvalidRequest(f"--init {path} can't be read as weights: {error}") from error
        return cls(weights, new_head)

    @property
    def digest(self) -> str:
        """sha256 over names and values. Part of the recipe, so a run resumes only with the same weights."""
        sha256 = hashlib.sha256(b"new head" if self.new_head else b"")
        for name, tensor in sorted(self.weights.items()):
            sha256.update(name.encode() + tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return sha256.hexdigest()

    def fitted(self, network: nn.Module) -> Weights:
        """A complete state dict of the network.

        Raises InvalidRequest naming missing and unknown tensors and those of another shape.
        """
        own = network.state_dict()
        if isinstance(network, DenoisedClassifier):
            return own | self._fitted_denoiser(own)
        head = _head_prefix(network) if self.new_head else None
        wanted = {name: value for name, value in own.items() if head is None or not name.startswith(head)}
        given = {BODY + name: value for name, value in self.weights.items()}
        given = {name: value for name, value in given.items() if name in wanted or name not in own}
        _check(given, wanted, self.new_head)
        return own | given

    def _fitted_denoiser(self, own: Weights) -> Weights:
        """The denoiser's tensors, of a pair's weights or of a denoiser's alone."""
        if self.new_head:
            raise InvalidRequest("--new-head is for a classifier; a denoiser has no head.")
        pair = {name: value for name, value in self.weights.items() if name.startswith(DENOISER)}
        given = pair or {DENOISER + name: value for name, value in self.weights.items()}
        wanted = {name: value for name, value in own.items() if name.startswith(DENOISER)}
        problem = _problem(given, wanted)
        if problem:
            raise InvalidRequest(
                f"--init does not fit the denoiser: {problem}. Are --depth and --channels right?"
            )
        return given


def _check(given: Weights, wanted: Weights, new_head: bool) -> None:
    problem = _problem(given, wanted)
    if problem:
        hint = "" if new_head else " A head for other classes is left out with --new-head."
        raise InvalidRequest(f"--init does not fit the network: {problem}.{hint}")


def _problem(given: Weights, wanted: Weights) -> str:
    """Which tensors do not fit; empty if all do."""
    shapes = [
        f"{name} is {tuple(given[name].shape)}, not {tuple(wanted[name].shape)}"
        for name in wanted.keys() & given.keys()
        if given[name].shape != wanted[name].shape
    ]
    problems = {
        "missing": wanted.keys() - given.keys(),
        "unknown": given.keys() - wanted.keys(),
        "of another shape": shapes,
    }
    return "; ".join(f"{problem}: {_listed(sorted(names))}" for problem, names in problems.items() if names)


def _head_prefix(network: nn.Module) -> str:
    """The last linear layer's name with a dot. Raises InvalidRequest without such a layer."""
    names = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not names:
        raise InvalidRequest("--new-head leaves out the last linear layer, and this architecture has none.")
    return f"{names[-1]}."


def _listed(names: list[str]) -> str:
    more = len(names) - MAX_LISTED
    return ", ".join(names[:MAX_LISTED]) + (f" and {more} more" if more > 0 else "")
