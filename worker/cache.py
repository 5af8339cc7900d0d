"""The interface between worker and engines, and a cache of engines, so that a model loads once.

SMOOTHCERT_ENGINES names the class that builds engines.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from smoothcert.images.pixels import CertifiedImage
from smoothcert.models.registry import ModelRegistry
from smoothcert.schemas.card import ModelCard
from smoothcert.schemas.certificate import EngineDescription
from smoothcert.votes import BatchedVotes

MOST_ENGINES = 4  # kept at once; the least recently used is evicted
RequestedEngine = EngineDescription | str  # the engine that a job is pinned to, or an engine config as text


class VotingEngine(Protocol):
    """Computes votes of one model: smoothcert.engines.engine.Engine, or a test double."""

    description: EngineDescription
    num_classes: int

    def sampler(self, image_CHW: NDArray[np.uint8], sigma: float, seed: int) -> BatchedVotes: ...


class EngineBuilder(Protocol):
    """Builds engines; constructed with the worker's Settings. Equal platforms compute equal votes."""

    def platform(self) -> str: ...

    def check(self, folder: Path, card: ModelCard) -> None: ...  # raises BadCheckpoint

    def build(self, folder: Path, card: ModelCard, requested: RequestedEngine | None) -> VotingEngine: ...


@dataclass(frozen=True)
class Loaded:
    """One model and its engine. built_for: the requested engine config; None for the worker's choice."""

    card: ModelCard
    engine: VotingEngine
    built_for: RequestedEngine | None

    @property
    def classifier_sha256(self) -> str:
        """Digest of everything in the checkpoint that decides this engine's votes."""
        return self.card.classifier_sha256_in(self.engine.description.precision)

    def fits(self, card: ModelCard, requested: RequestedEngine | None) -> bool:
        """Whether this engine can run a job that requests this engine. None: the worker's choice.

        Compares the whole card, not only the weights: the certificate contains its name and labels, and the
        network its first layer.
        """
        if self.card != card:
            return False
        return requested in (self.built_for, self.engine.description)

    def votes(self, image: CertifiedImage, sigma: float, seed: str) -> BatchedVotes:
        """The votes of one image, from this seed (hexadecimal)."""
        return self.engine.sampler(image.to_array(), sigma, int(seed, 16))


class EngineCache:
    """Builds engines on first use. A checkpoint that is replaced on disk gets a new engine."""

    def __init__(self, registry: ModelRegistry, builder: EngineBuilder) -> None:
        self._registry = registry
        self._builder = builder
        self._recent: list[Loaded] = []
        self.platform = builder.platform()

    def check(self, model: str) -> None:
        """Raises UnknownModel or BadCheckpoint if the model can't be loaded."""
        self._builder.check(self._registry.folder(model), self._registry.card(model))

    def load(self, model: str, requested: RequestedEngine | None) -> Loaded:
        """The model's engine, with the requested config if any.

        Raises UnknownModel, BadCheckpoint, InternalError.
        """
        card = self._registry.card(model)
        found = next((kept for kept in self._recent if kept.fits(card, requested)), None)
        if found:
            self._recent.remove(found)
        else:
            del self._recent[: max(0, len(self._recent) - MOST_ENGINES + 1)]
            engine = self._builder.build(self._registry.folder(model), card, requested)
            found = Loaded(card, engine, built_for=requested)
        self._recent.append(found)
        return found
